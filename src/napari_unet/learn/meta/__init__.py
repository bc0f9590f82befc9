"""Meta-training: the starting weights learn to be solved from strokes."""
