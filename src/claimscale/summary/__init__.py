"""The summary of a study: built once, typed."""
