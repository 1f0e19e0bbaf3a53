"""From data sources to datasets: files → rows → examples → prepared → split → canonical JSONL."""
