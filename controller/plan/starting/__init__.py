"""Starting from the model of another fine-tune. Pure."""
