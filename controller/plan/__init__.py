"""What one pass would do, and why. Pure: values in, values out."""
