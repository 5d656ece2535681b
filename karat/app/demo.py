"""The demo: the whole chain on scikit-learn's 1,797 real handwritten digits, each step with its command and what its numbers mean.

Everything lies in one folder. Run again, each step finds what is done already.
"""

import shlex
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from karat.app.failures import in_words
from karat.app.steps import Explained, Step
from karat.store.store import Store
from karat.words.errors import Cancelled
from karat.words.events import Event, Finished, Saved
from karat.words.specs import Spec

OF_EACH = 10
STEPS = 10
ALIAS = "digits:live"
SCORES = ("fd/judge", "condition-accuracy/judge", "precision/judge", "coverage/judge", "closer-to-training/pixels", "copied/pixels")


def run_demo(folder: Path, *, minutes: float = 2.0, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Take the digits through the whole chain. Ends in Finished, whose result is the folder."""
    began = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_digits(folder / "digits")
    except OSError as error:
        raise in_words(error) from None
    demo = _Demo(folder, minutes, stop)
    snapshot = yield from demo.data()
    run = yield from demo.train(snapshot)
    yield from demo.evaluate(run)
    yield from demo.release(run)
    yield from demo.make()
    spent = time.monotonic() - began
    yield Saved(what="contact sheet", path=str(demo.sheet))
    yield Saved(what="report", path=str(folder / "report.html"))
    yield Finished(what="demo", result=str(folder), summary=f"The whole chain in {spent:.0f} s.", figures={"seconds": spent})


def write_digits(folder: Path) -> None:
    """Write the digits that come with scikit-learn as PNG files, one folder for each digit, where they are not there yet."""
    done = folder / "LICENSE"
    if done.exists():
        return
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(digit) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(path)
    done.write_text(
        "CC BY 4.0: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998\n"
    )


class _Demo:
    """The steps, which share a folder, a store and a budget."""

    def __init__(self, folder: Path, minutes: float, stop: Callable[[], bool]) -> None:
        self.folder, self.minutes, self.stop = folder, minutes, stop
        self.store = Store.open(folder / "store")
        self.assets, self.sheet = folder / "assets", folder / "contact-sheet.png"
        self.number = 0

    def data(self) -> Generator[Event, None, str]:
        """Import, check, snapshot, preview."""
        from karat.app import data

        place = self.folder / "digits"
        yield self._step("Import", f"data import {self._path(place)} --name digits", "Pictures, labels and licence go into the store.")
        source = yield from self._last(data.import_source(self.store, place, options=data.ImportOptions(name="digits")))
        yield _count("samples", source.figures["samples"], "real handwritten digits of 8 x 8 pixels, in class folders 0 to 9")
        yield self._step("Check", f"data check {source.result[:12]}", "What is wrong with the data is said before anything is learnt.")
        found = yield from self._last(data.check(self.store, [source.result]))
        yield _count("findings", found.figures["findings"], "near duplicates are normal among digits; nothing is dropped silently")
        command = f"data snapshot {source.result[:12]} --name digits"
        yield self._step("Snapshot", command, "A cleaned and split set that never changes; its id is the digest of what it holds.")
        snapshot = yield from self._last(data.snapshot(self.store, [source.result], data.SnapshotWish(), alias="digits"))
        yield _count("train", snapshot.figures["train"], "the model learns from these")
        yield _count("validation", snapshot.figures["validation"], "the best checkpoint is chosen by these")
        yield _count("test", snapshot.figures["test"], "the final scores are measured on these, which nothing else sees")
        yield _count("judge", snapshot.figures["judge"], "the measuring net learns from these, which the model never sees")
        preview = self.folder / "preview.png"
        yield self._step("Preview", f"data preview digits -o {self._path(preview)}", "This is what the model will see.")
        yield from self._last(data.preview(self.store, "digits", preview))
        return snapshot.result

    def train(self, snapshot: str) -> Generator[Event, None, str]:
        from karat.app import training

        command = f"train digits --given label --minutes {self.minutes:g}"
        yield self._step("Train", command, "A flow learns to turn noise into the digit that it is told. Ctrl-C keeps everything.")
        plan = training.plan(self.store, snapshot, training.Dials(minutes=self.minutes), given=("label",))
        for event in training.run(self.store, plan, stop=self.stop):
            yield from _shown(event)
        run = training.finished(self.store, plan)
        figures = run.facts["figures"]
        yield _count("parameters", figures["parameters"], "numbers that were learnt")
        yield _count("steps", figures["steps"], f"in {figures['seconds']:.0f} s, each on {plan.plan.batch} digits")
        yield _count(
            "chosen step", figures["chosen"], "its samples were nearest to the validation digits and not nearer to training than chance"
        )
        return run.id

    def evaluate(self, run: str) -> Generator[Event, None, None]:
        from karat.app.evaluating import EvaluatingOptions, evaluate_run
        from karat.app.reports import save_report, scores_of

        command = f"evaluate {run[:12]} -o {self._path(self.folder)}"
        yield self._step("Evaluate", command, "500 new samples against the test digits, beside what real digits and no model would score.")
        options = EvaluatingOptions()
        done = [each for each in self.store.descendants(run) if each.kind == "evaluation" and each.spec == _said(options)]
        if not done:
            end = yield from self._last(evaluate_run(self.store, run, options))
            done = [self.store.get(end.result)]
        for line in scores_of(self.store, done[0].id):
            if line.name in SCORES:
                yield Explained(name=line.title, value=line.told, meaning=line.meaning)
        yield from save_report(self.store, done[0].id, self.folder)

    def release(self, run: str) -> Generator[Event, None, None]:
        from karat.app.releasing import release_run

        place = self.folder / "digits.karat"
        command = f"release {run[:12]} --as {ALIAS} --title Digits -o {self._path(place)}"
        yield self._step("Release", command, "One signed file: weights, codec, card, report, lineage, and an index that knows copies.")
        place.unlink(missing_ok=True)  # the store keeps those of earlier demos
        yield from self._last(release_run(self.store, run, title="Digits", alias=ALIAS, out=place))
        yield Explained(name="size", value=f"{place.stat().st_size / 1e6:.1f} MB", meaning="no pickle inside: it is data, and runs nothing")

    def make(self) -> Generator[Event, None, None]:
        """Generate, verify, reproduce."""
        from karat.app.generating import Asked, Made, generate_asked
        from karat.app.proving import failure, reproduce_asset, verify_file

        command = f"generate {ALIAS} -n {OF_EACH} --each label -o {self._path(self.assets)} --sheet {self._path(self.sheet)}"
        yield self._step("Generate", command, "Ten of each digit; every file carries its origin and has a record.")
        asked = Asked(count=OF_EACH, each="label")
        made: list[Made] = []
        for event in generate_asked(self.store, ALIAS, asked, self.assets, sheet=self.sheet, stop=self.stop):
            made += [event] if isinstance(event, Made) else []
            yield from _shown(event)
        yield _count("copied", sum(bool(each.copied) for each in made), "assets nearer to a training digit than held-out digits ever are")
        yield self._step("Verify", f"verify {self._path(self.assets)}/*.png", "Who made each file, and that no byte was changed.")
        found = [verify_file(self.store, Path(each.path)) for each in made]
        if wrong := failure(found):
            raise wrong
        yield Explained(name="proved", value=f"{len(found)} of {len(found)}", meaning="made by this release, and unchanged since")
        again = self.folder / "again"
        yield self._step(
            "Reproduce", f"reproduce {made[-1].asset[:12]} -o {self._path(again)}", "The same release, seed and settings: the same file."
        )
        yield from self._last(reproduce_asset(self.store, made[-1].asset, again))

    def _last(self, events: Iterator[Event]) -> Generator[Event, None, Finished]:
        """Pass on the events of a step that keeps nothing until its end, and give the last. Raises Cancelled when `stop` says so."""
        last: Event | None = None
        for event in events:
            last = event
            yield from _shown(event)
            if self.stop():
                raise Cancelled("Stopped; the steps before this one are kept.", repair="Give the same command again to go on.")
        assert isinstance(last, Finished), "work ends with Finished"
        return last

    def _step(self, title: str, command: str, meaning: str) -> Step:
        self.number += 1
        full = f"karat --store {self._path(self.store.folder)} {command}"
        return Step(number=self.number, total=STEPS, title=title, command=full, meaning=meaning)

    def _path(self, path: Path) -> str:
        return shlex.quote(str(path))


def _shown(event: Event) -> Iterator[Event]:
    """Pass on everything but the end of a step, which is not the end of the demo: its sentence becomes a line of its own."""
    if not isinstance(event, Finished):
        yield event
    elif event.summary:
        yield Explained(name="", value=event.summary, meaning="")


def _count(name: str, value: float, meaning: str) -> Explained:
    return Explained(name=name, value=f"{value:,.0f}", meaning=meaning)


def _said(options: Spec) -> object:
    return options.model_dump(mode="json")
