"""Actions of one pass, each with its reason. Pure: values in, values out."""
