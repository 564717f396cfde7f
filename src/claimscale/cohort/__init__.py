"""Who is studied: selection, splits, description."""
