"""The audio modality of the anytime toolkit: data sets, networks, losses, metrics and pictures."""
