"""Intervals, tests and verdicts for scores of held-out examples."""
