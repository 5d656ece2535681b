"""Jobs that make assets from a release, or retouch pictures: several that ask one release with the same settings are computed together.

Which others a job is computed with changes nothing in its assets.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from karat.app.generating import AssetWriter, Made, Steps, file_of
from karat.app.retouching import reading
from karat.app.serving.asking import Drawing, Previewing
from karat.app.serving.doing import Bench, Done, doers
from karat.app.serving.loaded import Loaded
from karat.store.queue import Job
from karat.values.codecs.latent import as_seen
from karat.values.given import Given
from karat.words.errors import Cancelled, KaratError
from karat.words.events import Event, Progress
from karat.work.exploring import start_of
from karat.work.generation import Previewed, make_values, repeated
from karat.work.requests import Request, Retouch
from karat.work.retouching import Canvas, as_pictures, retouched


@dataclass
class _Asked:
    """One job among those that are computed together, and the places of its assets among all of them."""

    job: Job
    drawing: Drawing
    places: range
    made: list[dict[str, Any]]
    previewed: int = 0


@dataclass(frozen=True)
class _Singles:
    """What an asset writer asks of a batch, when each asset may be of another request."""

    request: Request
    singles: Sequence[Request]

    def single(self, place: int) -> Request:
        return self.singles[place]


@doers.add("generate")
def draw(bench: Bench, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event | KaratError]]:
    """Make the assets of some requests to one release, all of which go the same way: none of them retouches, or all do."""
    loaded = bench.releases.get(Drawing.from_values(jobs[0].spec).release)
    asked: list[_Asked] = []
    rows: Given | None = None
    canvas: Canvas | None = None
    for job in jobs:
        drawing = Drawing.from_values(job.spec)
        try:
            own = repeated(loaded.ready.conditions(drawing.request.given), drawing.request.count)
            if isinstance(drawing.request, Retouch):
                laid = Canvas.of(loaded.ready, drawing.request, reading(bench.store))
                canvas = laid if canvas is None else canvas.joined(laid)
        except KaratError as error:
            yield job, error
            continue
        first = asked[-1].places.stop if asked else 0
        asked.append(_Asked(job, drawing, range(first, first + drawing.request.count), []))
        rows = own if rows is None else rows.joined(own)
    if rows is not None:
        yield from _draw(bench, loaded, asked, rows, canvas)


def _draw(
    bench: Bench, loaded: Loaded, asked: list[_Asked], rows: Given, canvas: Canvas | None
) -> Iterator[tuple[Job, Event | KaratError]]:
    ready, singles = (
        loaded.ready,
        [each.drawing.request.changed(count=1, first=index) for each in asked for index in _indices(each.drawing.request)],
    )
    steps: Steps
    if canvas is None:
        starts = [start_of(single, lambda: loaded.directions) for single in singles]
        steps = make_values(ready.model, rows, starts, singles[0].sampling)
    else:
        seeds = [(single.seed, single.first) for single in singles]
        steps, ready = retouched(ready, rows, seeds, singles[0].sampling, canvas), as_pictures(ready)
    writer = AssetWriter(bench.store, loaded.record, loaded.release, ready, _Singles(singles[0], singles), None)
    done, together = 0, len(asked)
    for step, values in steps:
        stopped = [each for each in asked if bench.stopped(each.job.id)]
        for each in stopped:
            asked.remove(each)
            yield each.job, Cancelled(f"Stopped after {len(each.made)} assets; they are kept.", repair="Ask again.")
        if not asked:
            return
        touched = [each for each in asked if each.places.start < done + len(values) and each.places.stop > done]
        if step.done < step.total:
            yield from _on_the_way(loaded, touched, step, values, done)
            continue
        keeps = touched[0].drawing.keeps
        made = map(_told, writer.write(values, done)) if keeps else _shown(writer, values, done)
        for place, told in enumerate(made, done):
            for each in touched:
                if place in each.places:
                    each.made.append(told)
                    yield each.job, Progress(done=len(each.made), total=len(each.places))
        done += len(values)
        for each in [each for each in touched if each.places.stop <= done]:
            asked.remove(each)
            yield (
                each.job,
                Done(result={"assets": each.made if keeps else [], "pictures": [] if keeps else each.made, "together": together}),
            )


def _indices(request: Request) -> range:
    return range(request.first, request.first + request.count)


def _told(made: Made) -> dict[str, Any]:
    return made.model_dump(mode="json", include={"asset", "index", "copied", "nearest"})


def _shown(writer: AssetWriter, values: Tensor, done: int) -> Iterator[dict[str, Any]]:
    """Give the files of pictures that are not kept."""
    for place, value in enumerate(values, done):
        single = writer.batch.single(place)
        yield {"index": single.first, "file": base64.b64encode(file_of(writer.ready, value, writer.release, single)).decode()}


def _on_the_way(loaded: Loaded, touched: list[_Asked], step: Previewed, values: Tensor, done: int) -> Iterator[tuple[Job, Event]]:
    """Say how far the jobs are, and show those that want to be seen."""
    for each in touched:
        share = step.done / step.total
        yield each.job, Progress(done=len(each.made), total=len(each.places), figures={"step": step.done, "steps": step.total})
        if each.previewed < each.drawing.previews and share >= (each.previewed + 1) / (each.drawing.previews + 1):
            value = as_seen(loaded.ready.made, values[max(0, each.places.start - done)][None])[0]
            picture = loaded.ready.made.write(loaded.ready.made.decode(value))
            yield each.job, Previewing(number=each.previewed, picture=base64.b64encode(picture).decode())
            each.previewed += 1
