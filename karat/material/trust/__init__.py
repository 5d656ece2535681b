"""Originality, and the proof that every file carries."""
