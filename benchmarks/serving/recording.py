"""What the benchmarks of serving share: their options, and where their results go. With it come the other benchmarks."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1]
sys.path.append(str(BENCHMARKS))

from datasets import machine  # noqa: E402
from results import record  # noqa: E402


@dataclass(frozen=True)
class Results:
    """The results of one matter, which lie in one file. With `--unrecorded` they are only printed."""

    what: str
    kept: bool
    threads: int = 1

    def add(self, contender: str, data: str, scores: dict[str, Any], about: dict[str, Any] | None = None) -> None:
        """Print what was measured of a contender and record it, with what else is to be known about it."""
        print(f"{data}: {contender}: " + ", ".join(f"{name} {_figure(value)}" for name, value in scores.items()), flush=True)
        if self.kept:
            row = {
                "what": f"server {self.what}",
                "data": data,
                "contender": contender,
                "scores": scores,
                "about": about or {},
                **machine(),
                "threads": self.threads,
            }
            record(BENCHMARKS / "results" / f"server-{self.what}.json", row, key=("data", "contender"))


def asked(what: str, doc: str | None, **defaults: Any) -> tuple[argparse.Namespace, Results]:
    """Read the options of a program, each with its default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"{value} if not given")
    parser.add_argument("--unrecorded", action="store_true", help="only print the results")
    options = parser.parse_args()
    return options, Results(what, not options.unrecorded, getattr(options, "threads", 1))


def _figure(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
