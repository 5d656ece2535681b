"""Explain an answer of a release: what moved it, how sure the model was of each token, what it has read that is like it."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

from pydantic import Field

from karat.app.releasing import load_release, open_release
from karat.material.data.snapshots import Snapshot
from karat.material.report import explanation_html
from karat.material.text_pages import Near, Strip
from karat.store.placing import write_whole
from karat.store.store import Store
from karat.values.codecs.latent import seen
from karat.values.given import Given
from karat.values.passages import Passage, Turn
from karat.words.errors import NotFoundError, SpecError
from karat.words.events import Event, Finished, Started, Warned
from karat.words.specs import Spec
from karat.work.explaining import explain, nearest
from karat.work.following import Following
from karat.work.generation import Ready
from karat.work.measuring import Passages
from karat.work.plans import RunSpec
from karat.work.reading import TextLike

AT_MOST = 64
"""Tokens of an answer that is not given."""


class Question(Spec):
    """What is to be explained: the answer to a prompt, or what follows the beginning of a text. Without one, the model's likeliest."""

    prompt: str = Field(min_length=1)
    answer: str | None = None
    system: str = ""


def explain_release(store: Store, ref: str, question: Question, out: Path) -> Iterator[Event]:
    """Write the explanation as a page, or as JSON where the path ends so. Ends with Finished, whose result is the path."""
    _, release = open_release(store, ref)
    ready, spec = load_release(release)
    if seen(ready.made).extension != ".txt" or seen(ready.made) is not ready.made:
        raise SpecError("What this release makes is no text whose tokens can be explained.", repair="Give a release of a language model.")
    codec, prompt = cast(TextLike, ready.made), _prompt(ready, question)
    yield Started(what="explanation")
    answer = question.answer if question.answer is not None else _answer(ready, prompt)
    near = _near(store, spec, answer)
    if not near:
        yield Warned(message="The store does not hold the texts that the release learnt from, or only a few: none are compared.")
    told = explain(ready.model, codec, prompt, answer, near=near)
    title = f"Why {release.facts.get('title') or release.digest[:12]} said this"
    page = json.dumps(asdict(told), ensure_ascii=False, indent=1) if out.suffix == ".json" else explanation_html(title, answer, told)
    write_whole(out, page.encode())
    yield Finished(
        what="explanation", result=str(out), summary=f"{summary(told)}: {out}", figures={"nats": sum(part.nats for part in told.answer)}
    )


def summary(told: Strip) -> str:
    """Say which parts of the prompt moved the answer most."""
    moved = sorted((part for part in told.prompt if part.nats > 0), key=lambda part: -part.nats)[:3]
    named = ", ".join(f"“{part.text.strip() or part.text}” ({part.nats:.2f} nats)" for part in moved)
    return f"Moved most by {named}" if moved else "No part of the prompt made the answer likelier"


def _prompt(ready: Ready, question: Question) -> Passage:
    """Read the prompt as the model was taught: as a turn to be answered, or as the beginning of a text."""
    if ready.made.state().get("packing") == "stream":
        if question.system:
            raise SpecError("The model learnt texts, no conversations.", repair="Leave the system's words out.")
        return Passage(text=question.prompt)
    system = (Turn(role="system", text=question.system),) if question.system else ()
    return Passage(turns=(*system, Turn(role="user", text=question.prompt)))


def _answer(ready: Ready, prompt: Passage) -> str:
    follow = Following(ready, Given(), {}, seed=0)
    if not follow.goes_on:
        raise SpecError("The model does not go on from a prompt.", repair="Give the answer with --answer.")
    return follow([prompt], rows=[0], most=AT_MOST, greedy=True)[0]


def _near(store: Store, spec: RunSpec, answer: str) -> list[Near]:
    try:
        snapshot = Snapshot.open(store, spec.snapshot)
    except NotFoundError:
        return []
    return nearest([answer], Passages(store, snapshot, "train"))[0]
