"""The store: blobs by digest, records of how each thing was made, aliases with history. Takes no torch."""

from karat.store.records import AliasEntry, Record
from karat.store.store import Store

__all__ = ["AliasEntry", "Record", "Store"]
