"""The studio: Karat in the browser, for people who never open a terminal. Pages over the use cases, and nothing else."""
