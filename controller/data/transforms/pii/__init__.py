"""Personal data and secrets in examples: found, then masked, refused or reported."""
