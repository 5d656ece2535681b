"""From a folder of files to an immutable, cleaned and split snapshot."""
