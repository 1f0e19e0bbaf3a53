"""The half of ftctl that acts: one package per place where models are trained."""
