"""How good a model is on labelled images: the measuring itself, reports, comparisons."""
