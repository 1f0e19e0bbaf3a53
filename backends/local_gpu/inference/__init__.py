"""Answers of local models."""
