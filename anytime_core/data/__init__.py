"""A user's data: how it is found, read, split and written."""
