"""claimscale: the smallest foundation model that is good enough, for each clinical question."""

__version__ = "0.1.0"
