"""Fine-tunes that move to another backend, endpoint or base model. Pure."""
