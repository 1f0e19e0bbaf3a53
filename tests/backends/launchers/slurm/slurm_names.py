"""The name of a job, and the beginning of a refusal, in tests of Slurm."""

NAME = "ftctl-cafe-0123456789ab"
FAILED = "sbatch: error: Batch job submission failed: "
