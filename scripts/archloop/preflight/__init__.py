"""What is looked at before anything is queued: model, data, memory, room, SLURM, and a node."""
