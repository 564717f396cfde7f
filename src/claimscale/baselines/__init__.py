"""Baselines on counted codes, for the same patients as the encoders."""
