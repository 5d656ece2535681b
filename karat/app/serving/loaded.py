"""The releases that a worker keeps loaded: as many as a budget of memory holds, the one used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from torch import Tensor

from karat.app.engines import precision_of
from karat.app.releasing import load_release, open_release
from karat.app.writing import text_index, writes
from karat.learning.nets.matrices import Precision
from karat.material.releases.release import Release
from karat.material.trust.text_originality import TextOriginality
from karat.store.records import Record
from karat.store.store import Store
from karat.work.exploring import directions_of
from karat.work.generation import Ready
from karat.work.writing import Writer


@dataclass(frozen=True)
class Loaded:
    """A release that is ready to make something."""

    record: Record
    release: Release
    ready: Ready
    bytes: int
    precision: Precision = "float32"
    """In which it writes texts, unless a request names another."""
    writers: dict[Precision, Writer] = field(default_factory=dict)

    def settled(self, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Give options of writing in which the precision is named."""
        return dict(sampling) if "precision" in sampling or self.precision == "float32" else {**sampling, "precision": self.precision}

    def writer(self, precision: Precision = "float32") -> Writer:
        """Give what writes with the release, made at the first call. Raises SpecError for one that does not write token by token."""
        if precision not in self.writers:
            self.writers[precision] = Writer(self.ready.model, cast(Any, self.ready.made), precision=precision)
        return self.writers[precision]

    @cached_property
    def directions(self) -> Tensor:
        """The directions along which what it makes differs most."""
        return directions_of(self.ready)

    @cached_property
    def index(self) -> TextOriginality | None:
        """What the release knows of its training texts."""
        return text_index(self.release)


class LoadedReleases:
    """Releases by the id of their record."""

    def __init__(self, store: Store, *, budget: int) -> None:
        self._store, self._budget = store, budget
        self._held: OrderedDict[str, Loaded] = OrderedDict()

    def get(self, ref: str) -> Loaded:
        """Give a release, loaded now if it is not there; one that alone is larger than the budget is held alone."""
        record = self._store.get(ref)
        if record.id not in self._held:
            record, release = open_release(self._store, record.id)
            self._make_room(self._store.path(record.made or "").stat().st_size)
            ready, _ = load_release(release)
            copies = 2 if writes(release) else 1  # a writer has the weights in a form of its own
            size = copies * sum(tensor.numel() * tensor.element_size() for tensor in ready.model.state_dict().values())
            precision = precision_of(self._store, record) if writes(release) else "float32"
            self._held[record.id] = Loaded(record, release, ready, size, precision)
        self._held.move_to_end(record.id)
        return self._held[record.id]

    @property
    def bytes(self) -> dict[str, int]:
        """The weights that are held, by record."""
        return {id: loaded.bytes for id, loaded in self._held.items()}

    def _make_room(self, coming: int) -> None:
        while self._held and sum(self.bytes.values()) + coming > self._budget:
            self._held.popitem(last=False)
