"""How well do a few strokes segment other images? See README.md in this folder."""
