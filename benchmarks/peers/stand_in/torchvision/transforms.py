"""Empty: see the package's docstring."""
