"""The decoder-only transformer prior and its engines, which draw codes one after another."""
