"""Karat's own endpoints, for everything that the application can do."""
