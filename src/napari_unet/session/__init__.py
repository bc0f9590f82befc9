"""A session as a folder: strokes, classes, settings, model and where the images are, kept whole on the disk."""
