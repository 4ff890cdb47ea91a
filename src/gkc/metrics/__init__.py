"""Measures of quality, on numpy arrays."""
