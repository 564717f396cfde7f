"""Pretraining, fine-tuning and the loop, schedule and checkpoints they share."""
