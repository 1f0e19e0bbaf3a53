"""Steps that change an example before it is used."""
