"""Launchers: what runs a training's process."""
