"""Choice of the examples that stay, and of the split each belongs to."""
