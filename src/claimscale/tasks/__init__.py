"""Prediction tasks: index dates, labels, label files."""
