"""Measuring a build on held-out examples, and judging it."""
