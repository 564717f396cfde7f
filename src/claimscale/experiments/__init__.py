"""The grid of cells of a study: what to run, what it costs, and running it."""
