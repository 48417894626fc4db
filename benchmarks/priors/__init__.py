"""All kinds of priors on the codes of one frozen autoencoder: trained equally long, judged and timed alike."""
