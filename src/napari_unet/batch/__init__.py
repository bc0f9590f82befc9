"""Many images through one model: from files to files."""
