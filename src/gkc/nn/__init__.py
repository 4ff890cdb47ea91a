"""Blocks of networks: no CLIP, no configuration, no data."""
