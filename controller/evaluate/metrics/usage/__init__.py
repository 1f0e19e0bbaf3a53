"""Metrics of what answers take: tokens, time and money."""
