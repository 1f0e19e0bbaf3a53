"""Training examples as the service reads, checks and bills them."""
