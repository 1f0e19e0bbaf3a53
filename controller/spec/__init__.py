"""What a person may write: the YAML loader, the models, the JSON Schema."""
