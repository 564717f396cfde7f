"""Privacy: which counts the summary may show."""
