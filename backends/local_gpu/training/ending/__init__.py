"""End of a training: early stopping, and the amounts read by then."""
