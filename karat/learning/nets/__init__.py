"""Maps from values to values under what is given."""
