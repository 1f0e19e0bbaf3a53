"""A fine-tune's report: one tree of values, shown as HTML, as Markdown and as JSON. Pure."""
