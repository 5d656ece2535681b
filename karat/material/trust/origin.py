"""Origin: what a generated file says of itself wherever it goes. Release, asset, seed, settings, and that a trained model made it.

PNG, JPEG and WebP carry it as XMP: the fields of IPTC Photo Metadata 2025.1 that any photo program reads (digital source type, AI
system), and Karat's own beside them. What else a packet holds is kept. In a PNG the packet is a text chunk. Files that can carry nothing
get a neighbour `….karat.json`, bound to them by their digest.
"""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from karat.material.trust.carriers import carrier_of
from karat.words.errors import DataError, SpecError
from karat.words.specs import Spec, canonical

TRAINED_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SIDECAR = ".karat.json"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_KARAT = "urn:karat:origin:1"
_PACKET_ID = "W5M0MpCehiHzreSzNTczkc9d"
_OURS = re.compile(rf'[ \n]*<rdf:Description rdf:about="" xmlns:karat="{_KARAT}".*?</rdf:Description>', re.DOTALL)
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


class Origin(Spec):
    """Where a generated file comes from. What is None or empty is not written."""

    release: str
    """The digest of the release that made it."""
    asset: str = ""
    """The id of its record."""
    seed: int | None = None
    settings: str = ""
    """The digest of the request's settings."""
    system: str = "Karat"
    system_version: str = ""
    title: str = ""
    """The name of the release, for people."""
    producer: str = ""
    """Who answers for the file."""
    source_type: str = TRAINED_MEDIA
    prompt: str = ""
    """May hold what is private, so nothing puts it here unless asked to."""

    in_iptc: ClassVar[dict[str, str]] = {
        "source_type": "DigitalSourceType",
        "system": "AISystemUsed",
        "system_version": "AISystemVersionUsed",
        "prompt": "AIPromptInformation",
    }


def can_carry(file: bytes) -> bool:
    """Tell whether a file's format has room for an origin."""
    return carrier_of(file) is not None


def embed(file: bytes, origin: Origin) -> bytes:
    """Give the file with its origin inside, in place of one that was there; the pixels' bytes stay as they are.

    Raises DataError for formats that cannot carry it (see `write_sidecar`), and when it does not read back.
    """
    carrier = carrier_of(file)
    if carrier is None:
        raise DataError("A file of this format cannot carry its origin.", repair="Write PNG, JPEG or WebP, or a sidecar beside the file.")
    for name, value in origin.model_dump().items():
        if isinstance(value, str) and _FORBIDDEN.search(value):
            raise DataError(f"The origin's {name} holds a character that no file may carry.", repair="Remove control characters from it.")
    there = carrier.packet(file)
    made = carrier.with_packet(file, _new_packet(origin) if there is None else _merged(there, origin))
    if read(made) != origin:
        raise DataError("The origin does not read back from the file that carries it.", repair="Write the origin as a sidecar instead.")
    return made


def read(file: bytes) -> Origin | None:
    """Give the origin that a file carries, None when it carries none. Raises DataError for a damaged file or packet."""
    carrier = carrier_of(file)
    packet = carrier.packet(file) if carrier else None
    if packet is None or _KARAT.encode() not in packet:
        return None
    found = _properties(packet)
    values: dict[str, object] = {}
    for name in Origin.model_fields:
        key = f"{{{_IPTC}}}{Origin.in_iptc[name]}" if name in Origin.in_iptc else f"{{{_KARAT}}}{name}"
        if key in found:
            values[name] = found[key]
    try:
        return Origin.from_values({"system": "", "source_type": "", **values})
    except SpecError as error:
        raise DataError(f"The origin in the file is incomplete: {error.problem}", repair="Take the file from where it was made.") from None


def write_sidecar(path: Path, origin: Origin) -> Path:
    """Write a file's origin beside it, bound to its bytes by their digest; give the sidecar's path."""
    sidecar = path.with_name(path.name + SIDECAR)
    value = {
        "format": "karat origin",
        "version": "1.0",
        "sha256": _digest(path),
        "origin": origin.model_dump(mode="json", exclude_none=True),
    }
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{sidecar.name}")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(canonical(value) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, sidecar)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise DataError(f"{sidecar} cannot be written: {error.strerror}.", repair="Free some space or choose another place.") from None
    return sidecar


def read_sidecar(path: Path) -> Origin | None:
    """Give the origin that lies beside a file, None when there is none. Raises DataError when the file was changed since."""
    sidecar = path.with_name(path.name + SIDECAR)
    if not sidecar.exists():
        return None
    try:
        value = json.loads(sidecar.read_bytes())
        if value["format"] != "karat origin" or not value["version"].startswith("1."):
            raise ValueError("another format")
        said, origin = value["sha256"], Origin.from_values(value["origin"])
    except (OSError, ValueError, KeyError, TypeError, SpecError, AttributeError):
        raise DataError(f"{sidecar} is damaged or of another version.", repair="Make it again with the file.") from None
    if said != _digest(path):
        raise DataError(f"{path} was changed after its origin was written.", repair="Take the file from where it was made.")
    return origin


def _new_packet(origin: Origin) -> bytes:
    # The mark at the beginning of a packet is a byte order mark, as the XMP specification asks.
    return (
        f'<?xpacket begin="\ufeff" id="{_PACKET_ID}"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{_RDF}">'
        f'{_description(origin)}\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def _merged(packet: bytes, origin: Origin) -> bytes:
    """Put our description into a packet that is there already, in place of an older one of ours."""
    _properties(packet)
    before, end, after = _OURS.sub("", packet.decode()).rpartition("</rdf:RDF>")
    if not end:
        raise DataError(
            "The file's XMP packet is written in a way that cannot be added to.", repair="Remove it, or write a sidecar instead."
        )
    return f"{before.rstrip()}{_description(origin)}\n {end}{after}".encode()


def _description(origin: Origin) -> str:
    lines = [f'\n  <rdf:Description rdf:about="" xmlns:karat="{_KARAT}" xmlns:Iptc4xmpExt="{_IPTC}">']
    for name, value in origin.model_dump().items():
        if value is not None and value != "":
            tag = f"Iptc4xmpExt:{Origin.in_iptc[name]}" if name in Origin.in_iptc else f"karat:{name}"
            # XML would read a carriage return as a line feed unless it is spelt out.
            lines.append(f"   <{tag}>{escape(str(value), {chr(13): '&#13;'})}</{tag}>")
    return "\n".join([*lines, "  </rdf:Description>"])


def _properties(packet: bytes) -> dict[str, str]:
    """Give the simple properties of all descriptions in a packet, by their full names."""
    problem = DataError("The file's XMP packet cannot be read.", repair="Take the file from where it was made.")
    # Entities are how XML is made to explode; no XMP packet needs one.
    if b"<!DOCTYPE" in packet:
        raise problem
    try:
        root = ElementTree.fromstring(packet.decode().strip("\ufeff\x00 \r\n\t"))
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError):
        raise problem from None
    found: dict[str, str] = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        found |= {name: value for name, value in description.attrib.items() if not name.startswith(f"{{{_RDF}}}")}
        found |= {child.tag: child.text or "" for child in description if len(child) == 0}
    return found


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", repair="Check the path and its permissions.") from None
