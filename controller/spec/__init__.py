"""Files that people write: the YAML loader, the models, the JSON Schema."""
