"""Validity checks: faults of labels, splits, inputs and follow-up that bias a study of claims.

Each check is a pure function of arrays that returns a `CheckResult`. `inputs` reads the arrays from a run
directory; `checks` runs all checks. docs/validity.md describes each check and its rule.
"""
