"""The policy: what a house demands before a run becomes a release and before a file leaves, and how long it keeps what it noted.

A policy is a record, so its history stands; the newest holds. It binds what is asked of Karat (releasing, exporting, everything that a
server gives out), and is no lock: whoever reads the folder of the store has its files.
"""

from collections.abc import Iterable
from itertools import pairwise

from pydantic import Field

from karat.app.assets import asset, file_of
from karat.app.chain import find
from karat.app.lots import Lots
from karat.app.verdicts import state_of
from karat.material.releases.release import Release
from karat.material.trust import origin
from karat.store.store import Store
from karat.words.errors import KaratError
from karat.words.specs import Spec

DAY = 86_400.0


class PolicyError(KaratError):
    """The house does not allow it."""

    code = "policy"
    exit_code = 10


class Policy(Spec):
    """What the house demands; nothing, where nobody has said so. `since` and `by` say when and who declared it.

    `licences` may stand in a release (none named: any may). A file leaves only if it is `labelled` (it says itself that it was generated),
    `original` (it was compared with the training samples, and is no copy), `reviewed` (its reviewers accepted it).
    """

    licences: tuple[str, ...] = ()
    labelled: bool = False
    original: bool = False
    reviewed: bool = False
    calls_days: float | None = Field(None, ge=1, le=36_500, description="days after which calls are forgotten; never if not given")
    uploads_days: float = Field(7, ge=1, le=36_500, description="days after which uploaded files that nobody imported are removed")
    by: str = Field("", max_length=100)
    since: float = 0.0


class PolicyChange(Spec):
    """One thing that a declaration changed."""

    at: float
    by: str
    name: str
    before: object
    after: object


def policy(store: Store) -> Policy:
    """Give the policy that holds."""
    return next((Policy.from_values(each.spec) for each in store.find("policy", limit=1)), Policy())


def declare_policy(store: Store, wanted: Policy) -> Policy:
    """Let a policy hold from now on."""
    store.record("policy", spec=wanted)
    return wanted


def policy_history(store: Store) -> list[PolicyChange]:
    """Give what every declaration changed, newest first."""
    declared = [Policy(), *(Policy.from_values(each.spec) for each in store.find("policy", limit=10_000, newest_first=False))]
    return [
        PolicyChange(at=new.since, by=new.by, name=name, before=getattr(old, name), after=getattr(new, name))
        for old, new in reversed(list(pairwise(declared)))
        for name in Policy.model_fields
        if name not in ("by", "since") and getattr(old, name) != getattr(new, name)
    ]


def check_licences(store: Store, licences: Iterable[str]) -> None:
    """Raise PolicyError for a licence that the house does not allow in a release."""
    allowed = policy(store).licences
    for wrong in (each for each in licences if allowed and each not in allowed):
        problem = f"The licence {wrong!r} stands in this release; the house allows {', '.join(allowed)}."
        raise PolicyError(problem, repair="Train without that data, or let an administrator allow the licence.")


def check_parts(store: Store, parts: Iterable[str]) -> None:
    """Raise PolicyError for a release whose parts lack what the house demands."""
    if policy(store).original and not any(part.startswith("originality") for part in parts):
        problem = "The house demands that files are compared with the training samples, and this release brings no index of them along."
        raise PolicyError(problem, repair="Release a run of pictures or texts again, or let an administrator change the policy.")


def check_release(store: Store, ref: str) -> None:
    """Raise PolicyError for a release that may not leave."""
    release = Release.open(store.path(find(store, ref, "release").made or ""))
    check_licences(store, release.json("lineage.json")["licences"] if "lineage.json" in release.names else ["unknown"])
    check_parts(store, release.names)


def check_answer(store: Store, *, unfinished: bool = False) -> None:
    """Raise PolicyError where what is made may not leave with the answer to the request; `unfinished`: nor what is shown on the way."""
    held = policy(store)
    if held.reviewed:
        problem = "The house demands that reviewers accept what is made before it leaves."
        raise PolicyError(problem, repair="Ask for it with POST /api/jobs, and fetch its file once it was accepted.")
    if held.original and unfinished:
        problem = "The house demands that files are compared with the training samples, which unfinished ones cannot be."
        raise PolicyError(problem, repair="Ask for no partial images.")


def given_out(store: Store, id: str, *, to_reviewer: bool = False) -> tuple[bytes, str]:
    """Give an asset's file and media type for whoever takes it away. Raises PolicyError where it may not leave.

    `to_reviewer`: to somebody who must see it before they can accept it.
    """
    held, line = policy(store), asset(store, id)
    file, media_type = file_of(store, line.id)
    if held.labelled and (not origin.can_carry(file) or origin.read(file) is None):
        problem = f"The house demands a label in every file; that of asset {line.id[:12]} carries none."
        raise PolicyError(problem, repair="A text is labelled by a file beside it: `karat generate -o`. Or let the policy be changed.")
    verdict = line.facts.get("originality")
    if held.original and (verdict is None or verdict["copied"]):
        told = "was not compared with the training samples" if verdict is None else "lies suspiciously near a training sample"
        raise PolicyError(f"Asset {line.id[:12]} {told}.", repair="Make another one.")
    if held.reviewed and not to_reviewer and state_of(store, line.id) != "accepted":
        raise PolicyError(f"Asset {line.id[:12]} was not accepted by its reviewers.", repair="Let it be reviewed: the page Review.")
    return file, media_type


def tidy(store: Store, lots: Lots, *, now: float) -> None:
    """Let go of calls and uploads that are older than the policy keeps them, and of answers that nobody asks for again."""
    store.answers.forget()
    held = policy(store)
    lots.remove_older(held.uploads_days * DAY)
    if held.calls_days is not None:
        store.calls.forget(before=now - held.calls_days * DAY)
