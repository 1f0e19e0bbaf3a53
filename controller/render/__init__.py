"""Plans, status and builds as text, Markdown and JSON. Pure."""
