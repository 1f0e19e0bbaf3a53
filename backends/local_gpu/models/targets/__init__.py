"""The layers that an adapter trains, chosen by name, from files or from a loaded model."""
