"""The parts of `claimscale serve`: messages, scoring, protection, the application, and its page."""
