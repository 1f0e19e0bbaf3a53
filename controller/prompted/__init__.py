"""Builds for which nothing is trained: a base model with a system prompt and examples."""
