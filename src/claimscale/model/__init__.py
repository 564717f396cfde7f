"""The encoder, its shapes and how its settings carry over from one size to another."""
