"""Failures of the machine, put as errors that say how to repair them."""

import errno
from pathlib import Path

from karat.store.blobs import store_error
from karat.words.errors import KaratError


class MachineError(KaratError):
    """The machine has no more of something."""

    code = "machine"
    exit_code = 9


def in_words(error: OSError | MemoryError) -> KaratError:
    """Say in a sentence what the machine refused, and how to repair it."""
    if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
        return MachineError("The memory is full.", repair="Give a smaller --size or --set plan.batch=16, or end other programs.")
    return store_error(error, Path(error.filename or "a file"))
