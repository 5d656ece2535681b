"""What a job may be asked for: the spec of each kind, and the scope of keys that may ask it. A server reads these; workers do them.

Takes no torch. What only a model or a codec can judge is judged by the worker, and is the job's error.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from karat.app.data import ImportOptions, SnapshotWish
from karat.values.passages import Passage as Passage  # part of what faces ask with
from karat.words.errors import SpecError
from karat.words.events import Event
from karat.words.specs import Spec, digest_of
from karat.work.recipes.dials import Dials
from karat.work.requests import Request, Retouch, request_of

Scope = Literal["generate", "review", "train", "admin"]


def _request(values: Any) -> Any:
    """Read a request as what it is."""
    return request_of(dict(values)) if isinstance(values, Mapping) else values


class Drawing(Spec):
    """A request to a release, by its record; `previews` unfinished pictures of the first asset are shown on the way.

    With `keeps`, each picture becomes an asset; else the result brings the files.
    """

    release: str
    request: Annotated[SerializeAsAny[Request], BeforeValidator(_request)]
    previews: int = Field(0, ge=0, le=3)
    keeps: bool = True

    def mates(self) -> str:
        """Name the jobs that this one may be computed with: those that go the same way."""
        way = self.request.sampling if not isinstance(self.request, Retouch) else [self.request.sampling, self.request.strength]
        return f"{self.release[:64]} {digest_of(way)[:16]}{'' if self.keeps else ' shown'}"


class Writing(Spec):
    """Texts from a release, by its record: `request.count` for each prompt.

    With `keeps`, each becomes an asset; with `tells`, each token is told as it comes.
    """

    release: str
    prompts: tuple[Passage, ...] = Field(min_length=1, max_length=64)
    request: Request = Request()
    keeps: bool = True
    tells: bool = False

    def mates(self) -> str:
        """Name the jobs that this one may be written with: those of one release in one precision."""
        return " ".join([self.release[:64], "write", *([str(named)] if (named := self.request.sampling.get("precision")) else [])])


class Embedding(Spec):
    """Texts, or ids of texts, to be read into numbers by a release."""

    release: str
    inputs: tuple[str | tuple[int, ...], ...] = Field(min_length=1, max_length=2048)

    def mates(self) -> str:
        return f"{self.release[:64]} embed"


class Previewing(Event):
    """An unfinished picture: the file of it in base64, which of how many."""

    kind: Literal["previewing"] = "previewing"
    number: int
    picture: str


class Spelt(Spec):
    """A token as its bytes, which need not be whole characters, and its log-probability in its place."""

    bytes: tuple[int, ...]
    logprob: float

    @property
    def text(self) -> str:
        return bytes(self.bytes).decode(errors="replace")


class Piece(Spec):
    """A token of a text, and the likeliest in its place."""

    token: Spelt
    likeliest: tuple[Spelt, ...] = ()


class Said(Event):
    """What a token adds to a text as it comes: which text, the how-manyth token of it, and why it is the last one, if it is."""

    kind: Literal["said"] = "said"
    index: int
    number: int
    text: str
    finish: str | None = None
    piece: Piece | None = None


class Importing(Spec):
    """Import a place: a folder or file that the server itself put there."""

    path: str
    options: ImportOptions = ImportOptions()


class Checking(Spec):
    """Check sources, or the sources of snapshots."""

    refs: tuple[str, ...]
    policy: dict[str, Any] = {}


class Snapping(Spec):
    """Make a snapshot of sources, and call it by an alias."""

    refs: tuple[str, ...]
    wish: SnapshotWish = SnapshotWish()
    alias: str | None = None


class Training(Spec):
    """Train on a snapshot; `made` and everything else that dials cannot say goes into their `changes`."""

    snapshot: str
    dials: Dials = Dials()
    given: tuple[str, ...] = ()
    through: str | None = None


class Planning(Spec):
    """Plan a training and keep the plan in the folder of its run, without beginning it: what it will do and take, in lines."""

    snapshot: str
    dials: Dials = Dials()
    given: tuple[str, ...] = ()
    through: str | None = None


class Running(Spec):
    """Train what the plan in a run's folder says, from where it was left."""

    folder: str = Field(pattern=r"^[0-9a-f]{16}$")


class Evaluating(Spec):
    """Evaluate a run; the options are those of the command."""

    run: str
    options: dict[str, Any] = {}


class Releasing(Spec):
    """Make a release of a run and its newest evaluation."""

    run: str
    title: str = ""
    alias: str | None = None


ASKED: dict[str, tuple[type[Spec], Scope]] = {
    "generate": (Drawing, "generate"),
    "write": (Writing, "generate"),
    "embed": (Embedding, "generate"),
    "import": (Importing, "train"),
    "check": (Checking, "train"),
    "snapshot": (Snapping, "train"),
    "train": (Training, "train"),
    "plan": (Planning, "train"),
    "run": (Running, "train"),
    "evaluate": (Evaluating, "train"),
    "release": (Releasing, "train"),
}
"""Every kind of job: its spec, and the scope that may ask for it."""


def asked_of(kind: str, values: dict[str, Any]) -> Spec:
    """Read the spec of a job. Raises SpecError for an unknown kind or a wrong spec."""
    if kind not in ASKED:
        raise SpecError(f"There is no kind of job called {kind!r}.", repair=f"Known are: {', '.join(ASKED)}.")
    return ASKED[kind][0].from_values(values)
