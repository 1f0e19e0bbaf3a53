"""Fine-tuning jobs and files at the server."""
