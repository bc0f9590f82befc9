"""The annotation layer and its classes: what is painted, and with which class."""
