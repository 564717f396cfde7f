"""The compiled kernel of the simulator: disease courses, claims and Monte Carlo futures."""
