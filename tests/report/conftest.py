"""Fixtures of runs that were made up."""

from fake_runs import demo, fake_run  # noqa: F401
