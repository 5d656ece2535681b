"""Engines for the text releases of a store: measured once, remembered on the chain, and used wherever texts are written."""

from collections.abc import Iterator

from karat.app.releasing import load_release, open_release
from karat.learning.nets.decoding import threads_for
from karat.learning.nets.matrices import precisions_on
from karat.material.releases.release import Release
from karat.store.placing import whole_folder
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import NotFoundError
from karat.words.events import Event, Finished, Started, Warned
from karat.words.specs import Spec
from karat.work.engines.ctranslate import CTranslateEngine
from karat.work.engines.engine import Engine, EngineFigures, Probe, fastest, measure
from karat.work.engines.own import OwnEngine
from karat.work.export.ctranslate import CTranslate2
from karat.work.export.language import LanguageModel, Precision


class EngineSpec(Spec):
    """What engines were compared on: texts that the release itself wrote from a seed, and the threads that others than our own had."""

    texts: int = 20
    seed: int = 0
    threads: int


def choose_engine(store: Store, ref: str) -> Iterator[Event]:
    """Measure every engine that can write with a release, and remember the fastest that writes as it does.

    Ends with Finished, whose result is the record. Where CTranslate2 is not installed, a warning says so and Karat's own is chosen.
    """
    record, release = open_release(store, ref)
    ready, _ = load_release(release)
    language, spec = LanguageModel.of(ready), EngineSpec(threads=threads_for(ready.model.parameter_count()))
    yield Started(what="engines")
    own = precisions_on(ready.model.device)
    engines: list[Engine] = [OwnEngine(ready.model, language.ends, precision) for precision in own]
    try:
        engines += [_ctranslate(store, release, language, precision, spec.threads) for precision in CTranslate2.precisions]
    except NotFoundError as error:
        yield Warned(message=str(error))
    figures = measure(engines, Probe.drawn(ready.model, language.codec, texts=spec.texts, seed=spec.seed))
    chosen = fastest(figures)
    facts = {"chosen": chosen.engine, "precision": chosen.precision, "engines": [each.model_dump(mode="json") for each in figures]}
    result = store.record("engine", made_from=[record.id], spec=spec, facts=facts)
    speed, plain = (each.tokens_per_second[1] for each in (chosen, figures[0]))
    summary = f"{chosen.engine}: {speed:,.0f} tokens a second, {speed / plain:.1f} times those in float32"
    yield Finished(what="engines", result=result, summary=summary, figures={"tokens per second": speed, "times": speed / plain})


def figures_of(store: Store, record: str) -> list[EngineFigures]:
    """Give what a record of chosen engines says of each."""
    return [EngineFigures.from_values(each) for each in store.get(record).facts["engines"]]


def precision_of(store: Store, record: Record) -> Precision:
    """Give the precision in which texts are written with a release: float32 until others were measured."""
    found = [each for each in store.descendants(record.id) if each.kind == "engine" and record.id in each.made_from]
    precision: Precision = max(found, key=lambda each: each.at).facts.get("precision", "float32") if found else "float32"
    return precision


def _ctranslate(store: Store, release: Release, language: LanguageModel, precision: Precision, threads: int) -> CTranslateEngine:
    """Give an engine from the store's own folder, where it is written on first use. Raises NotFoundError without the library."""
    folder = store.folder / "engines" / f"{release.digest[:16]}-ctranslate2-{precision}"
    try:
        with store.lock(f"engine-{folder.name}"):
            if not folder.exists():
                with whole_folder(folder) as place:
                    CTranslate2().write(language, place, precision)
        return CTranslateEngine(folder, language, precision, threads=threads)
    except ModuleNotFoundError:
        raise NotFoundError("CTranslate2 is not installed.", repair="Run `pip install 'karat[export]'`.") from None
