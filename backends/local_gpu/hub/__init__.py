"""Base models of the Hugging Face hub: what the hub lists, and downloads into the hub's cache."""
