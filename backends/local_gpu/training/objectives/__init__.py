"""Objectives of training: one module each, and what they have in common."""
