"""What is measured, not asserted: one command each, see README.md in this folder."""
