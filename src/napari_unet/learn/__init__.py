"""Learning from strokes: border weights, losses and the training loop."""
