"""Validity checks: ways in which a study of claims can answer the wrong question, looked for one by one.

Each check is a pure function of arrays and returns a `Finding`. `evidence` reads the arrays from a run
directory; `checks` runs all of them. docs/validity.md says what each asks, its rule and why.
"""
