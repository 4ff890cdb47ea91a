"""Trained networks made into graphs and model folders."""
