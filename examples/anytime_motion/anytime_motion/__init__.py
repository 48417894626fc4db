"""Motion capture for the anytime toolkit: data sets, networks, losses, metrics and pictures of moving figures."""
