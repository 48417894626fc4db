"""One command that checks and measures a machine with a GPU, and says what falls short: `python -m benchmarks.gpu`."""
