"""Make a release of a run, and open releases: by alias, by id, or as a file that somebody sent."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from karat.app.chain import find
from karat.app.evaluating import EvaluatingOptions, open_run
from karat.app.policy import check_licences, check_parts
from karat.material.data.snapshots import Snapshot
from karat.material.metrics.scores import Evaluation
from karat.material.releases.card import Card, Figure
from karat.material.releases.containers import Source
from karat.material.releases.lineage import Lineage
from karat.material.releases.release import Release, write_release
from karat.material.releases.signing import SigningKey
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs.latent import seen
from karat.words.errors import NotFoundError, ReleaseError
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import canonical
from karat.work.codecs import weights_needed
from karat.work.generation import Ready
from karat.work.measuring import text_index_of, yardstick_of
from karat.work.plans import RunSpec


def release_run(store: Store, run_ref: str, *, title: str = "", alias: str | None = None, out: Path | None = None) -> Iterator[Event]:
    """Make a signed release of a run and its newest evaluation. Ends with Finished, whose result is the release's record.

    Raises PolicyError where the house does not allow it.
    """
    run, ready, spec = open_run(store, run_ref)
    evaluation = _evaluation_of(store, run)
    title = title or f"Karat {spec.model.family.kind} {run.id[:8]}"
    lineage = Lineage.of([run, evaluation, *store.ancestry(run.id)])
    check_licences(store, lineage.licences)
    yield Started(what="release")
    index: dict[str, Source] = {}
    sections: dict[str, str] = {}
    if seen(ready.made).kind == "image":
        measuring = EvaluatingOptions.from_values(evaluation.spec).measuring
        yardstick = yield from yardstick_of(store, Snapshot.open(store, spec.snapshot), spec, measuring)
        index |= yardstick.index.parts()
    elif seen(ready.made).extension == ".txt":
        learnt_from = [spec.snapshot, *(each.spec["snapshot"] for each in store.ancestry(run.id) if each.kind == "run")]
        text_index = yield from text_index_of(store, [Snapshot.open(store, each) for each in dict.fromkeys(learnt_from)])
        index |= text_index.parts()
        sections["Originality"] = text_index.told()
    check_parts(store, index)
    parts: dict[str, Source] = {
        "model.safetensors": store.path(run.made or ""),
        "spec.json": spec.to_json().encode(),
        "card.md": _card(title, spec, ready, evaluation, lineage, sections).to_markdown().encode(),
        "report.html": store.read(evaluation.facts["report.html"]),
        "report.json": store.read(evaluation.made or ""),
        "lineage.json": canonical(lineage.value()),
        **index,
        **{_weights_part(digest): store.path(digest) for digest in weights_needed(spec)},
    }
    key = SigningKey.at(store.folder)
    with TemporaryDirectory(dir=store.folder) as folder:
        place = Path(folder) / "release.karat"
        digest = write_release(place, parts, key=key, facts={"title": title, "run": run.id})
        result = remember(store, place, made_from=[run.id, evaluation.id])
    yield Progress(done=1, total=1)
    if out is not None and not (out.exists() and Release.open(out).digest == digest):
        Release.open(store.path(store.get(result).made or "")).save(out)
    if alias:
        store.alias(alias, result)
    named = f" as {alias}" if alias else ""
    yield Finished(what="release", result=result, summary=f"Release {result[:12]}{named}{f': {out}' if out else ''}")


def remember(store: Store, path: Path, *, made_from: list[str] | None = None) -> str:
    """Put a release file or folder on the chain, and give its record; one that this store made itself keeps the record that it has."""
    release = Release.open(path)
    facts = {"digest": release.digest, "signer": release.signer, "title": release.facts.get("title", "")}
    with TemporaryDirectory(dir=store.folder) as folder:
        one_file = path if path.is_file() else Path(folder) / "folder.karat"
        if one_file != path:
            release.save(one_file)
        made = store.put(one_file)
    known = [record.id for record in store.made(made) if record.kind == "release"]
    if known and made_from is None:
        return known[-1]
    return store.record("release", made=made, made_from=made_from or [], spec=facts)


def open_release(store: Store, ref: str) -> tuple[Record, Release]:
    """Open a release by alias, id, `latest` or path; one that came as a file or folder is put on the chain first."""
    path = Path(ref)
    if path.exists():
        record = store.get(remember(store, path))
        return record, Release.open(path)
    if path.suffix == ".karat":
        raise NotFoundError(f"There is no file {path}.", repair="Check the path, or give an alias or the id of a release.")
    record = find(store, ref, "release", "run") if ref != "latest" else find(store, ref, "release")
    if record.kind == "run":
        raise NotFoundError(f"{ref} is a run, not yet a release.", repair=f"Make one: `karat release {ref[:12]}`.")
    if record.made is None or not store.has(record.made):
        otherwise = f", or release run {record.made_from[0][:12]} again" if record.made_from else ""
        raise NotFoundError(f"The file of release {record.id[:12]} is gone from the store.", repair=f"Give the .karat file{otherwise}.")
    return record, Release.open(store.path(record.made))


def load_release(release: Release) -> tuple[Ready, RunSpec]:
    """Build what a release describes. Raises ReleaseError when its spec is of another version or its weights do not fit."""
    from karat.values.tensors import shapes_of

    raw = release.json("spec.json")
    if raw.get("version") != 1:
        raise ReleaseError(f"The spec in this release has version {raw.get('version')}; this Karat reads 1.", repair="Use a newer Karat.")
    spec = RunSpec.from_json(json.dumps(raw))
    from karat.learning.models import Model

    release.check_tensors("model.safetensors", shapes_of(Model(spec.model.finished()).state_dict()))
    return Ready.of(spec, dict(release.tensors()), lambda digest: release.read(_weights_part(digest))), spec


def _weights_part(digest: str) -> str:
    """Name the part that holds the weights of a codec."""
    return f"codec-{digest}.safetensors"


def _evaluation_of(store: Store, run: Record) -> Record:
    found = [record for record in store.descendants(run.id) if record.kind == "evaluation" and run.id in record.made_from]
    if not found:
        raise NotFoundError(f"Run {run.id[:12]} has not been evaluated.", repair=f"Measure it first: `karat evaluate {run.id[:12]}`.")
    return max(found, key=lambda record: record.at)


def _card(title: str, spec: RunSpec, ready: Ready, evaluation: Record, lineage: Lineage, sections: Mapping[str, str]) -> Card:
    scores = Evaluation.from_values(evaluation.facts["evaluation"]).scores
    figures = tuple(
        Figure(name=f"{s.title} ({s.space})", value=s.value, low=s.low, high=s.high, data="held-out test split") for s in scores
    )
    licences = lineage.licences
    family = spec.model.family.kind
    given = ", ".join(spec.given) or "nothing"
    return Card(
        title=title,
        summary=f"A {family} model of {ready.model.parameter_count():,} parameters that makes {spec.made.kind}s under {given}.",
        licence=next(iter(licences)) if len(licences) == 1 else "other",
        tags=("karat", family),
        figures=figures,
        sections={
            "Data": "\n".join(f"- {licence}: {', '.join(names)}" for licence, names in licences.items()),
            "Training": f"{spec.plan.steps:,} steps of {spec.plan.batch} samples; optimizer {spec.plan.optimizer}; seed {spec.plan.seed}.",
            "Limits": "Scores hold for the held-out part of the data named above and say nothing of other data. See report.html.",
            **sections,
        },
    )
