"""Tokens: the vocabulary, the token store, sequences and batches."""
