"""A trained model: its network, its settings and its file."""
