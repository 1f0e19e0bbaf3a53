"""HTTP: connections, middleware, requests and errors of the protocol."""
