"""The three training stages: `autoencoder`, `codes` and `prior`."""
