"""Texts on their way from files to samples."""
