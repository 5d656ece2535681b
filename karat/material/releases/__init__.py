"""What a stranger can run: signed containers of weights, specs and reports. Takes no torch until tensors are asked for."""

from karat.material.releases.card import Card, Figure
from karat.material.releases.containers import EXTENSION
from karat.material.releases.lineage import Lineage, read_lineage
from karat.material.releases.manifest import Manifest, Part
from karat.material.releases.release import Release, write_release
from karat.material.releases.signing import Signature, SigningKey

__all__ = [
    "EXTENSION",
    "Card",
    "Figure",
    "Lineage",
    "Manifest",
    "Part",
    "Release",
    "Signature",
    "SigningKey",
    "read_lineage",
    "write_release",
]
