"""What a server offers: each release by its names, with what it makes and what it can be told. Reads descriptions, loads no weights."""

from typing import Any, Literal

from karat.app.chain import find
from karat.app.serving.asking import Drawing, Writing
from karat.material.releases.release import Release
from karat.store.records import Record
from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.errors import NotFoundError, SpecError
from karat.words.specs import Spec
from karat.work.requests import Request, Retouch, request_of

WRITES = ("autoregressive", "pretrained")
"""The families that write token by token."""
FILLS = ("diffusion", "masked")
"""The families that make parts of values anew."""
DIALS = {
    "diffusion": ("steps", "guidance"),
    "vae": ("steps", "guidance"),
    "autoencoder": ("steps", "guidance"),
    "masked": ("steps", "guidance"),
    "autoregressive": ("guidance",),
}
"""The dials of a family's sampling that a person is shown."""
MOVES = ("diffusion", "vae", "gan")
"""The families that start from normal noise."""
TEXTS = ("text", "pretrained-text")
ABLE = f"Choose a release of pictures of the family {' or '.join(FILLS)}: GET /v1/models."


class UnknownModelError(NotFoundError):
    """No release has this name."""

    code = "model-not-found"


class Offer(Spec):
    """A release as a server offers it. `given` says what it can be told, by name; `names` the values that a label may have.

    `varies`: it varies pictures that it is given; `paints`: it makes a masked part of one anew; `explores`: it starts from noise that can
    be moved, so there are walks between its pictures, and directions in which they differ. `dials`: which of steps and guidance it has;
    `guidance`: how strongly it is guided unless it is told otherwise.
    """

    id: str
    title: str
    at: float
    makes: Literal["image", "text", "other"]
    family: str
    given: dict[str, str]
    names: dict[str, tuple[str, ...]]
    width: int | None = None
    height: int | None = None
    writes: bool = False
    answers: bool = False
    varies: bool = False
    paints: bool = False
    explores: bool = False
    dials: tuple[str, ...] = ()
    guidance: float = 1.0


class Named(Spec):
    """A name under which a release is offered: an alias, or the record's own id."""

    name: str
    offer: Offer


class Catalog:
    """The releases of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Offer] = {}

    def get(self, name: str) -> Offer:
        """Give the release of an alias or an id. Raises UnknownModelError; a name is never a path."""
        try:
            record = find(self._store, name, "release")
        except NotFoundError as error:
            raise UnknownModelError(f"There is no release called {name!r}.", repair=error.repair) from None
        return self._offer(record)

    def all(self) -> list[Named]:
        """Give every release by its aliases and its id."""
        records = {record.id: record for record in self._store.find("release", limit=1_000)}
        named = [(name, records[id]) for name, id in self._store.aliases().items() if id in records]
        return [Named(name=name, offer=self._offer(record)) for name, record in [*named, *records.items()] if self._is_here(record)]

    def _is_here(self, record: Record) -> bool:
        return record.made is not None and self._store.has(record.made)

    def _offer(self, record: Record) -> Offer:
        if record.id not in self._known:
            if not self._is_here(record):
                raise UnknownModelError(f"The file of release {record.id[:12]} is gone.", repair="Release its run again.")
            release = Release.open(self._store.path(record.made or ""))
            self._known[record.id] = _read(record, release.json("spec.json"))
        return self._known[record.id]


def _read(record: Record, spec: dict[str, Any]) -> Offer:
    """Say what a release's spec describes."""
    made, options = spec["made"], spec["model"]["family"]
    family = str(options["kind"])
    while made["kind"] == "latent":
        made = made["state"]["inner"]
    state, is_text = made["state"], made["kind"] in TEXTS
    height, width = state["size"] if made["kind"] == "image" else (None, None)
    writes = spec["made"]["kind"] in TEXTS and family in WRITES
    varies = made["kind"] == "image" and family in FILLS
    talks = state.get("packing") == "whole" if made["kind"] == "text" else bool(state.get("answers") or state.get("template"))
    return Offer(
        id=record.id,
        title=str(record.spec.get("title") or record.id[:12]),
        at=record.at,
        makes="text" if is_text else "image" if made["kind"] == "image" else "other",
        family=family,
        given={name: codec["kind"] for name, codec in spec["given"].items()},
        names={name: tuple(codec["state"]["names"]) for name, codec in spec["given"].items() if codec["kind"] == "label"},
        width=width,
        height=height,
        writes=writes,
        answers=writes and is_text and talks,
        varies=varies,
        dials=DIALS.get(family, ()),
        guidance=options.get("prior", options).get("guidance", 1.0),
        explores=made["kind"] == "image" and family in MOVES,
        paints=varies and len(spec["model"]["space"]["shape"]) == 2,
    )


def drawing_of(offer: Offer, prompt: str, values: dict[str, Any], *, previews: int = 0) -> Drawing:
    """Give the job of a picture request in words. Raises SpecError where the release has no place for the prompt or a condition."""
    check_given(offer, values.get("given", {}))
    request = request_of({**values, "given": given_of(offer, prompt, values.get("given", {}))})
    return Drawing(release=offer.id, request=request, previews=previews)


def check_retouching(offer: Offer, *, masked: bool) -> None:
    """Raise SpecError for a release that cannot go on from a picture, or keep a part of one."""
    if not offer.varies:
        said = f"The release {offer.title!r} is of the family {offer.family}, which cannot go on from a picture."
        raise SpecError(said if offer.makes == "image" else f"The release {offer.title!r} makes no pictures.", repair=ABLE)
    if masked and not offer.paints:
        said = f"The latents of the release {offer.title!r} stand for whole pictures, so no part of one can be kept."
        raise SpecError(said, repair="Leave out the mask to vary the whole, or choose another release: GET /v1/models.")


def retouching_of(offer: Offer, prompt: str, values: dict[str, Any], *, previews: int = 0) -> Drawing:
    """Give the job of a request to retouch a picture. Raises SpecError for what the release cannot do or does not know."""
    check_retouching(offer, masked=values.get("mask") is not None)
    check_given(offer, values.get("given", {}))
    request = Retouch.from_values({**values, "given": given_of(offer, prompt, values.get("given", {}))})
    return Drawing(release=offer.id, request=request, previews=previews)


def writing_of(offer: Offer, prompts: tuple[Passage, ...], values: dict[str, Any], *, keeps: bool = True, tells: bool = False) -> Writing:
    """Give the job of a text request. Raises SpecError for a release that writes no texts, or answers no turns."""
    if not offer.writes:
        raise SpecError(f"The release {offer.title!r} writes no texts.", repair="Choose one that does: GET /v1/models.")
    if any(prompt.turns for prompt in prompts) and not offer.answers:
        raise SpecError(f"The release {offer.title!r} goes on from a text; it does not converse.", repair="Ask POST /v1/completions.")
    check_given(offer, values.get("given", {}))
    return Writing(release=offer.id, prompts=prompts, request=Request.from_values(values), keeps=keeps, tells=tells)


def check_given(offer: Offer, given: dict[str, Any]) -> None:
    """Raise SpecError for conditions that a release does not know, or that are not of their kind."""
    for name, value in given.items():
        kind = offer.given.get(name)
        if kind is None:
            known = f"It knows: {', '.join(offer.given)}." if offer.given else "It was trained without conditions."
            raise SpecError(f"The release knows no condition {name[:60]!r}.", repair=known)
        if name in offer.names and value not in offer.names[name]:
            some = ", ".join(offer.names[name][:20])
            raise SpecError(f"This release knows no {name} {str(value)[:60]!r}.", repair=f"Ask for one of {some}.")
        if kind in TEXTS and not isinstance(value, str):
            raise SpecError(f"The {name} is a text for this release.", repair="Give it as one.")
        if kind == "numbers" and not (isinstance(value, dict) and all(isinstance(each, int | float) for each in value.values())):
            raise SpecError(f"The {name} are numbers by name for this release.", repair='Give them as {"weight": 1.5}.')
        if kind not in ("label", "numbers", *TEXTS):
            raise SpecError(f"The {name} cannot be given over the network.", repair="Leave it out.")


def given_of(offer: Offer, prompt: str, given: dict[str, Any]) -> dict[str, Any]:
    """Give what a picture's prompt says to a release: its text, or the label of that name. An empty prompt says nothing.

    Raises SpecError where the release has no place for it.
    """
    if not prompt.strip():
        return given
    texts = [name for name, kind in offer.given.items() if kind in TEXTS and name not in given]
    if texts:
        return {**given, texts[0]: prompt}
    for name, known in offer.names.items():
        said = {each.casefold(): each for each in known}.get(prompt.strip().casefold())
        if said is not None and name not in given:
            return {**given, name: said}
    if offer.names:
        name, known = next(iter(offer.names.items()))
        some = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        raise SpecError(f"This release knows no {name} {prompt.strip()[:60]!r}.", repair=f'Ask for one of {some}; or for nothing: "".')
    raise SpecError("This release cannot be told anything in words.", repair='Give an empty prompt: "".')
