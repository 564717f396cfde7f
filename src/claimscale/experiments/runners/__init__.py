"""Where cells run: local workers, Slurm, torchrun."""
