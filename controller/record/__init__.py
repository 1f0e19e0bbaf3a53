"""Answers of models, kept while the models can answer: `ftctl record`."""
