"""What of a base model an adapter trains: chosen by name, from files or from a loaded model."""
