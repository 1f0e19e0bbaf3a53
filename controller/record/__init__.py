"""What models say, kept while they speak: `ftctl record`."""
