"""The losses of a training: kept, and examined."""
