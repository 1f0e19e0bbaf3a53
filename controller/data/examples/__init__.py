"""Examples and their canonical form, and the row formats they come in."""
