"""ByteNet's decoder: residual blocks of masked dilated convolutions."""
