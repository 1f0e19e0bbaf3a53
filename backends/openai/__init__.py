"""The `openai` backend: a client of the OpenAI fine-tuning protocol, at any server."""
