"""Examples as tokens."""
