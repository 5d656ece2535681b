"""The errors that a user may see: what was expected, what came, how to repair it.

Each class has a stable `code` (for programs) and an `exit_code` (for shells). Anything that is not a `KaratError` is a
bug of ours and may print a traceback.
"""

from typing import ClassVar


class KaratError(Exception):
    """Something that the user can repair.

    The text of the error is one sentence of what happened (`expected` and `got` folded in by the caller) and one of how to repair it.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, repair: str) -> None:
        super().__init__(problem, repair)
        self.problem = problem
        self.repair = repair

    def __str__(self) -> str:
        return f"{self.problem} {self.repair}"


class SpecError(KaratError):
    """What was asked for contradicts itself or does not exist."""

    code = "spec"
    exit_code = 2


class DataError(KaratError):
    """The data cannot be used for what was asked."""

    code = "data"
    exit_code = 3


class StoreError(KaratError):
    """The store cannot be read or written."""

    code = "store"
    exit_code = 4


class NotFoundError(StoreError):
    """The store holds nothing under this name."""

    code = "not-found"
    exit_code = 4


class DamageError(StoreError):
    """Bytes are not what their digest says."""

    code = "damage"
    exit_code = 5


class ReleaseError(KaratError):
    """A release cannot be trusted or cannot be loaded."""

    code = "release"
    exit_code = 6


class TrainingError(KaratError):
    """Training cannot start or go on."""

    code = "training"
    exit_code = 7


class BusyError(KaratError):
    """Another process is using this."""

    code = "busy"
    exit_code = 8


class Cancelled(KaratError):  # noqa: N818 - it is no failure
    """The user stopped the work; what was finished is kept."""

    code = "cancelled"
    exit_code = 130
