"""How a user's data is found, on which `user_files` and `shards` build."""
