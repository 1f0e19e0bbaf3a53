"""The memory that a training needs: estimated from a model's files before anything is loaded."""
