"""Predictions as layers: predicted tile by tile, in memory or in a store on disk."""
