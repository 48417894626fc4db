"""WaveNet: gated causal dilated convolutions with skip connections."""
