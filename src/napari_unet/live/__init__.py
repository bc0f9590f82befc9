"""Learning while the person paints: strokes in, events out."""
