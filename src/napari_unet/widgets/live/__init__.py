"""Learning while the person paints, in the window: what is painted goes to the worker, what it sees comes back."""
