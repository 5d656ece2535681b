"""Repeating: what makes something is done once for each key that its asker gave it, however often it is asked."""

from collections.abc import Callable
from typing import TypeVar

from karat.store.store import Store
from karat.words.errors import BusyError
from karat.words.specs import Spec

S = TypeVar("S", bound=Spec)


class Asking(Spec):
    """A request that may be sent again: whose it is, the key that they gave it, and a digest of what it asks."""

    owner: str
    once: str
    asked: str


def done_once(store: Store, asking: Asking | None, kind: type[S], work: Callable[[], S], *, secret: bool = False) -> S:
    """Do some work, or give its answer where it was done before; without `asking` it is done each time. What failed is done again.

    A `secret` answer is not kept. Raises BusyError where the answer is lost with that, where the key stands for another request, and
    where the same one is being done.
    """
    if asking is None:
        return work()
    known = store.answers.begin(asking.owner, asking.once, asking.asked)
    if known is not None and secret:
        raise BusyError(
            "This was made before, and its secret was shown then.", repair="End it, and make another with a new idempotency key."
        )
    if known is not None:
        return kind.from_json(known)
    try:
        made = work()
    except BaseException:
        store.answers.drop(asking.owner, asking.once)
        raise
    store.answers.end(asking.owner, asking.once, "" if secret else made.model_dump_json())
    return made
