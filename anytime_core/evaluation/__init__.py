"""Quality against budget."""
