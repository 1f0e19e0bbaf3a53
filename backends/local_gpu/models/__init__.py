"""Base models, adapters and model folders."""
