"""Chat completions at the server."""
