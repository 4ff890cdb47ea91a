"""The loop, its configuration and its rates."""
