"""The first steps at the top of the dock, and the help pages."""
