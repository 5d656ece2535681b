"""`python -m karat.faces.cli` is the same as `karat`."""

from karat.faces.cli import main

if __name__ == "__main__":
    main()
