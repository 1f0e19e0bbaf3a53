"""Metrics that compare texts word by word."""
