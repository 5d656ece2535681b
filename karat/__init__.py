"""Karat turns a team's own data into generated content that the team can release."""

__version__ = "0.1.0"
