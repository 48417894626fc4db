"""Jobs that write folders of samples or reconstructions, and how files get there."""
