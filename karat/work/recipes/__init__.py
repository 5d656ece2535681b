"""Functions of a few dials that give a complete spec."""
