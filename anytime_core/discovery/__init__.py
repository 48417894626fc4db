"""What is installed and shipped: plugins, recipes, baselines; and what of it is to be trained."""
