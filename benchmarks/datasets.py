"""The data of the benchmarks, and the machine they ran on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from karat.app.demo import write_digits
from karat.material.data.importing import import_source
from karat.material.data.snapshots import SnapshotSpec, make_snapshot
from karat.store.store import Store

DATA = Path(os.environ.get("KARAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
EMOJI, TEXTS = DATA / "emoji", DATA / "text"


def snapshot_of(store: Store, name: str, scratch: Path) -> str:
    """Import a data set and give its snapshot."""
    folder = EMOJI
    if name == "digits":
        folder = scratch / "digits"
        write_digits(folder)
    *_, source = import_source(store, folder)
    *_, snapshot = make_snapshot(store, SnapshotSpec(sources=(source.result,)))
    return str(snapshot.result)


def machine() -> dict[str, Any]:
    """Say where and when: processor, cores, torch, commit, date."""
    root = Path(__file__).parent
    commit = subprocess.run(
        ["git", "-C", root, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    named = (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name"))
    processor = next(named, platform.processor())
    return {
        "commit": commit,
        "machine": f"{processor}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "threads": 2,
        "load": os.getloadavg()[0],
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
