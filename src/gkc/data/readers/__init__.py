"""Readers of published layouts, one module a family."""
