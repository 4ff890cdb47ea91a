"""From names to vectors: vocabularies and text banks."""
