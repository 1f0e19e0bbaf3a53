"""Reports on built datasets: statistics, token counts, differences, provenance."""
