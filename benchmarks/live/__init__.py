"""A simulated person who paints in the real window while the network learns."""
