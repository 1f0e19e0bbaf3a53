"""The lockfile: its model, and its storage on the disk."""
