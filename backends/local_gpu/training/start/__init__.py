"""Start of a training: examples, a model that fits its device, and an objective."""
