"""CLIP: its towers, its tokenizer and the readers of its published files."""
