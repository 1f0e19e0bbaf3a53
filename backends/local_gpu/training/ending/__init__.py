"""How a training ends: early stopping, and what was read by then."""
