"""Code systems, roll-up and national extensions."""
