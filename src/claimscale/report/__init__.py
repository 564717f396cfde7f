"""From results to the answer: a plain summary, its figures, one page."""
