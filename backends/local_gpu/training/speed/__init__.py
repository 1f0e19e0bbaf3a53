"""Speed of a training: what is waited for, what is computed, and what the device could compute."""
