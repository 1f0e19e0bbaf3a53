"""From specs to desired fine-tunes: validated, with data built and base models resolved."""
