"""Fixtures of made-up claims."""

from made_claims import claims, engine, study, write_events  # noqa: F401
