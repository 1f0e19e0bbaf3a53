"""Fine-tuning jobs of the server: records, events, endpoints and the task that runs them."""
