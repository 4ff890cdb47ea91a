"""From networks to results: geometry, scenes, merging, the `Segmenter`."""
