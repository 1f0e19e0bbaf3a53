"""From source files to prepared examples, on all cores, and to the written splits."""
