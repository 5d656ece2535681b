"""The command line. `main` is what the shell calls; each command is a plain function that calls one use case."""

from karat.faces.cli.entry import main

__all__ = ["main"]
