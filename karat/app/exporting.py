"""Export: a release in a form that other programs run, with its card and its lineage beside it, on the chain like everything else."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import karat
from karat.app.policy import check_release
from karat.app.releasing import load_release, open_release
from karat.learning.families.pretrained import Pretrained
from karat.material.releases.release import Release
from karat.store.placing import whole_folder
from karat.store.store import Store
from karat.words.errors import NotFoundError, SpecError
from karat.words.events import Event, Finished, Saved, Started
from karat.words.specs import Spec
from karat.work.export import ctranslate, gguf_file, huggingface, onnx_graph  # noqa: F401 - the formats register themselves
from karat.work.export.language import LanguageModel, Precision, exporters, write_json
from karat.work.export.pretrained import PretrainedModel
from karat.work.generation import Ready

PROVENANCE = "karat.json"
"""The file that says what an exported folder came from."""
KEPT = {"card.md": "README.md", "lineage.json": "lineage.json"}
"""Parts of a release that go with every export, and what they are called there."""


class ExportSpec(Spec):
    """What was asked for: a format, and how numbers are kept in it."""

    to: str
    precision: Precision


def export_release(store: Store, ref: str, out: Path, *, to: str, precision: str | None = None) -> Iterator[Event]:
    """Write a release into a new folder in the form `to`. Ends with Finished, whose result is the export's record.

    Raises SpecError where that form cannot hold what the release is, StoreError when the folder is there already, PolicyError.
    """
    exporter = exporters[to]
    if precision is not None and precision not in exporter.precisions:
        raise SpecError(f"The format {to} does not keep numbers as {precision}.", repair=f"Choose {' or '.join(exporter.precisions)}.")
    spec = ExportSpec.from_values({"to": to, "precision": precision or exporter.precisions[0]})
    record, release = open_release(store, ref)
    check_release(store, record.id)
    write = _written_in(to, load_release(release)[0])
    yield Started(what="export")
    with whole_folder(out) as folder:
        try:
            write(folder, spec.precision)
        except ModuleNotFoundError as error:
            raise NotFoundError(f"The format {to} needs the library {error.name}.", repair="Run `pip install 'karat[export]'`.") from None
        _say_where_from(folder, release, spec)
        files = sorted(folder.iterdir())
        digests, size = {path.name: _digest(path) for path in files}, sum(path.stat().st_size for path in files)
    result = store.record("export", made_from=[record.id], spec=spec, facts={"files": digests, "bytes": size})
    yield Saved(what="export", path=str(out))
    summary = f"Export {result[:12]}: {out}, {to} in {spec.precision}, {size:,} bytes"
    yield Finished(what="export", result=result, summary=summary, figures={"bytes": size})


def _written_in(to: str, ready: Ready) -> Callable[[Path, Precision], None]:
    """Give what writes a release into a folder. Raises SpecError where the form cannot hold it."""
    if isinstance(ready.model.family, Pretrained):
        return partial(PretrainedModel.of(ready, to).write, to)
    return partial(exporters[to].write, LanguageModel.of(ready))


def _say_where_from(folder: Path, release: Release, spec: ExportSpec) -> None:
    """Put the release's card and lineage beside the model, and say which release it is."""
    for part, name in KEPT.items():
        if part in release.names:
            (folder / name).write_bytes(release.read(part))
    said = {"release": release.digest, "signer": release.signer, "title": release.facts.get("title", "")}
    write_json(folder / PROVENANCE, {**said, **spec.model_dump(mode="json"), "karat": karat.__version__})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
