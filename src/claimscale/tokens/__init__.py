"""Tokens: vocabulary, store, sequences and batches."""
