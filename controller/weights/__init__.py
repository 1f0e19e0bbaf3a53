"""Weights that leave the state folder: their folder, its manifest and card, and the hub."""
