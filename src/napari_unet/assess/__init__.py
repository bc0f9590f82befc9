"""How good a segmentation is, and what can be measured on it."""
