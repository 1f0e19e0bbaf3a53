"""The training process."""
