"""The command line: one file a verb, and nothing that a library user would need."""
