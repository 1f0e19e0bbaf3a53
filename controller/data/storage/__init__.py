"""Examples of a build in columns and files, for data that exceeds the memory."""
