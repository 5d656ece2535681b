"""Reports: taken out of the store into files that a person can open."""

import os
from collections.abc import Iterator
from pathlib import Path

from karat.app.chain import find
from karat.store.blobs import store_error
from karat.store.store import Store
from karat.words.events import Event, Saved


def save_report(store: Store, ref: str, folder: Path | None = None) -> Iterator[Event]:
    """Write the report.html and report.json of an evaluation into a folder, that of its run if none is given."""
    evaluation = find(store, ref, "evaluation")
    run = store.get(evaluation.made_from[0])
    folder = folder or store.folder / "runs" / str(run.facts["folder"])
    for name, blob in (("report.html", evaluation.facts["report.html"]), ("report.json", evaluation.made)):
        path = folder / name
        temporary = folder / f".{name}.part"
        payload = store.read(blob)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(payload)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise store_error(error, path) from None
        yield Saved(what=name, path=str(path))
