"""Sections of `ftctl.yaml`, as pydantic models."""
