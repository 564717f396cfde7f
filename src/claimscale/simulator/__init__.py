"""A country of simulated patients whose true risks are known."""
