"""Correcting a result by hand, and finding the place that is worth painting next."""
