"""Importing: from a folder, a zip file or a single file to a source record, whose blob lists the samples.

What has been seen and kept is noted in the store as it goes, so an import that was killed goes on where it was, and a later import of the
same place only reads what has changed. Blobs become durable in batches, always before the notes that name them. How pictures and texts
are kept stands in `pictures` and `texts.importing`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from karat.material.data.pictures import import_pictures
from karat.material.data.scanning import Each, Modality, Scan, Visit, counted, scanned
from karat.material.data.sources import Place, open_place
from karat.material.data.texts.importing import import_texts
from karat.store.store import Store
from karat.words.errors import DataError
from karat.words.events import Event, Finished, Started, Warned
from karat.words.specs import Spec, digest_of

IMPORTS = {"image": import_pictures, "text": import_texts}
NOUNS = {"image": "pictures", "text": "texts"}


class ImportOptions(Spec):
    """What the user says about a place that is imported."""

    name: str | None = Field(default=None, description="what to call the source; the folder's name if not given")
    origin: str | None = Field(default=None, description="where the data comes from: an address, a person, a contract")
    licence: str | None = Field(
        default=None, description="the licence of all of it, where its rows say no other; read from a LICENSE file if not given"
    )
    columns: dict[str, str] = Field(default_factory=dict, description="columns to rename, as in category=label")
    modality: Modality = Field(default="auto", description="what to import; auto: pictures where there are any, else texts")
    each: Each = Field(default="file", description="what one sample of a .txt, .md or .docx file is")


def import_source(store: Store, path: Path, *, options: ImportOptions | None = None, workers: int = 2) -> Iterator[Event]:
    """Import a folder, a zip file or one file. Ends in Finished, whose result is the id of the source's record."""
    options = options or ImportOptions()
    place = open_place(path)
    location = digest_of(place.location)
    with store.lock(f"import-{location[:16]}"), _said(path):
        scan = scanned(store, place, location, modality=options.modality)
        if scan.files == 0:
            raise _nothing(path, scan, options.modality)
        in_bytes = scan.modality == "text"
        yield Started(what=f"import of {path}", total=scan.size if in_bytes else scan.files, unit="bytes" if in_bytes else "pictures")
        yield from _warnings(scan)
        visit = Visit(store, place, location, scan, options.columns, options.each, workers)
        made, facts = yield from IMPORTS[scan.modality](visit)
        spec = _source_spec(store, place, scan, options)
        source = store.record("source", made=made, spec=spec, facts=facts)
        store.files.forget_others(location, scan.id)
    yield Finished(
        what="import",
        result=source,
        summary=f"Imported {facts['samples']} {NOUNS[scan.modality]} as source {source[:12]}.",
        figures={name: float(value) for name, value in facts.items() if isinstance(value, int)},
    )


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Say in a sentence that the place cannot be read; the store says its own failures itself."""
    try:
        yield
    except OSError as error:
        problem = f"{path} cannot be read to its end: {error}."
        raise DataError(problem, repair="Check the disk and the permissions, and import again: it goes on where it was.") from None


def _nothing(path: Path, scan: Scan, modality: Modality) -> DataError:
    wanted = {"auto": "neither pictures nor texts", "image": "no pictures", "text": "no texts"}[modality]
    kinds = "pictures, or of .txt, .md, .jsonl, .json, .csv, .tsv, .parquet or .docx files"
    passed = f"Passed over: {counted(scan.ignored + scan.others)}." if scan.ignored or scan.others else ""
    return DataError(f"{path} holds {wanted}.", repair=f"Give a folder or zip of {kinds}. {passed}".strip())


def _warnings(scan: Scan) -> Iterator[Event]:
    if scan.others:
        message = f"Passed over {scan.others.total()} files of text beside the pictures: {counted(scan.others)}."
        yield Warned(message=f"{message} To import the texts in place of the pictures, say --modality text.")
    if scan.ignored:
        kind = "neither pictures nor texts" if scan.modality == "image" else "no texts"
        yield Warned(message=f"Passed over {scan.ignored.total()} files that are {kind}: {counted(scan.ignored)}.")
    if scan.splits:
        names = ", ".join(sorted(scan.splits))
        yield Warned(message=f"The folders {names} are kept as facts; a snapshot splits anew, so that near duplicates stay together.")


def _source_spec(store: Store, place: Place, scan: Scan, options: ImportOptions) -> dict[str, Any]:
    licence, text = options.licence, None
    for _, raw in scan.licences[:1]:
        with place.open(raw) as reading:
            content = reading.read(1 << 20)
        text = store.put(content)
        lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
        licence = licence or (lines[0][:200] if lines else None)
    name = options.name or place.title
    return {
        "name": name,
        "origin": options.origin or name,
        "licence": licence,
        "licence_text": text,
        "columns": options.columns,
        "modality": scan.modality,
        **({"each": options.each} if scan.modality == "text" else {}),
    }
