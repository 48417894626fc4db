"""The decoder-only transformer prior, and its ways to draw codes one after another."""
