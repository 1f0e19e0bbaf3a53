"""Files behind sources: found, inspected, decoded and decompressed."""
