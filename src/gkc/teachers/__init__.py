"""Frozen networks that embed labelled regions in a text space, and the cache of what they said."""
