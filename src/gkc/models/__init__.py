"""The networks, one file a method."""
