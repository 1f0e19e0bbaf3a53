"""Several processes that train one model: their share of each step, and what they add up."""
