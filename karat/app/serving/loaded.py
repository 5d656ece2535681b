"""The releases that a worker keeps loaded: as many as a budget of memory holds, the one used longest ago goes first."""

from collections import OrderedDict
from dataclasses import dataclass

from karat.app.releasing import load_release, open_release
from karat.material.releases.release import Release
from karat.store.records import Record
from karat.store.store import Store
from karat.work.generation import Ready


@dataclass(frozen=True)
class Loaded:
    """A release that is ready to make something."""

    record: Record
    release: Release
    ready: Ready
    bytes: int


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
            size = sum(tensor.numel() * tensor.element_size() for tensor in ready.model.state_dict().values())
            self._held[record.id] = Loaded(record, release, ready, size)
        self._held.move_to_end(record.id)
        return self._held[record.id]

    @property
    def bytes(self) -> dict[str, int]:
        """The weights that are held, by record."""
        return {id: loaded.bytes for id, loaded in self._held.items()}

    def _make_room(self, coming: int) -> None:
        while self._held and sum(self.bytes.values()) + coming > self._budget:
            self._held.popitem(last=False)
