"""Files and uploads of the server."""
