"""Masked autoencoder for distribution estimation: a feed-forward network whose masks keep the order of the codes."""
