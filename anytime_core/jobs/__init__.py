"""What writes folders: samples, reconstructions, and how they get there."""
