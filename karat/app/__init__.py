"""The use cases: the only floor that a face may call."""
