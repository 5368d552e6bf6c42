"""SLURM: what it says of itself, waiting for it, and jobs that a killed run left there."""
