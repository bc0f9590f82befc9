"""Sessions in the window: saved as a person works, restored and opened again."""
