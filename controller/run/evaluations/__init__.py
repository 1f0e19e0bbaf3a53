"""Evaluations that a person asks for, and the files that people fill in."""
