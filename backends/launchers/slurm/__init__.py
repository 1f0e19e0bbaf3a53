"""Slurm: `sbatch`, `squeue`, `scancel` and `sinfo`, typed here or at a login node through ssh."""
