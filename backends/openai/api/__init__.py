"""The server's HTTP API: client, endpoints, errors and retries."""
