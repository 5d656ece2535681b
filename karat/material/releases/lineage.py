"""The lineage part: the records that a release was made from, back to its sources, with their licences.

Each record's id is the digest of what it says, so that a stranger can see that no record was changed and none is missing.
"""

from collections.abc import Iterable
from typing import Any

from karat.store.records import Record, record_id
from karat.words.errors import ReleaseError, SpecError
from karat.words.specs import Spec

UNKNOWN_LICENCE = "unknown"


class Lineage(Spec):
    """Records, oldest first; everything that one of them was made from is among them."""

    records: tuple[Record, ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Lineage":
        """Put records (a run and its ancestry, say) in order, each after all that it was made from."""
        waiting = {record.id: record for record in sorted(records, key=lambda record: (record.at, record.id))}
        ordered: dict[str, Record] = {}
        while ready := [record for record in waiting.values() if all(parent in ordered for parent in record.made_from)]:
            for record in ready:
                ordered[record.id] = waiting.pop(record.id)
        if waiting:
            missing = next(parent for record in waiting.values() for parent in record.made_from if parent not in waiting)
            raise ReleaseError(f"The lineage lacks the record {missing[:12]}.", repair="Give all ancestors, as the store's ancestry does.")
        return cls(records=tuple(ordered.values()))

    @property
    def licences(self) -> dict[str, list[str]]:
        """Give the names of the sources and bases under each licence."""
        found: dict[str, list[str]] = {}
        for record in self.records:
            if record.kind in ("source", "base"):
                licence = record.facts.get("licence") or record.spec.get("licence") or UNKNOWN_LICENCE
                found.setdefault(str(licence), []).append(str(record.facts.get("name") or record.spec.get("name") or record.id[:12]))
        return {licence: sorted(names) for licence, names in sorted(found.items())}

    def value(self) -> dict[str, Any]:
        """Give the JSON of the part `lineage.json`."""
        return {"licences": self.licences, "records": [record.model_dump(mode="json") for record in self.records]}


def read_lineage(value: Any) -> Lineage:
    """Read a `lineage.json`. Raises ReleaseError when a record does not say what its id says, or is missing."""
    try:
        lineage = Lineage.from_values({"records": value["records"]})
    except (KeyError, TypeError, SpecError):
        raise ReleaseError("The release's lineage cannot be read.", repair="Make the release again from its run.") from None
    before: set[str] = set()
    for record in lineage.records:
        if record.id != record_id(record.kind, record.made, record.made_from, record.spec, record.facts):
            raise ReleaseError(f"The record {record.id[:12]} in the lineage was changed.", repair="Do not trust this release.")
        if not before.issuperset(record.made_from):
            raise ReleaseError(f"The lineage lacks what {record.id[:12]} was made from.", repair="Do not trust this release.")
        before.add(record.id)
    return lineage
