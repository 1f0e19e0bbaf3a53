"""Models that were trained elsewhere, taken over as fine-tunes of this repository."""
