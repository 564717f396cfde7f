"""The compiled heart of the simulator: lives, the claims they leave, and their futures."""
