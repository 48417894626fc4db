"""The `anytime` command line: one file a command, heavy imports inside command bodies."""
