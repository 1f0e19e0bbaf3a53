"""Chat templates: rendering of conversations, and parsing of answers."""
