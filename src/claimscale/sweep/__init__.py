"""A study as cells, and the running of them: here, side by side, resumable after any stop."""
