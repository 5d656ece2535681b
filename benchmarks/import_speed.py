"""Import: pictures per second and peak memory of importing and checking, beside a plain Pillow loop and imagededup's PHash.

    python benchmarks/import_speed.py --counts 5000 20000

imagededup imports torch and torchvision for its neural method, which is not measured, so empty stand-ins take their place. Each way runs in
a process of its own, on the same pictures, which the disk's cache holds by then, one after the other and the whole of it `--repeats` times;
the medians are recorded.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from datasets import machine
from PIL import Image
from results import record

HERE = Path(__file__).parent
SIDE = 64

KARAT = """
import resource, sys, time
from pathlib import Path
from karat.material.data.checks import check_sources
from karat.material.data.importing import import_source
from karat.material.data.likeness import near_groups
from karat.material.data.snapshots import SnapshotSpec, make_snapshot
from karat.store.store import Store
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
bare, began = peak(), time.perf_counter()
store = Store.open(sys.argv[2])
*_, last = import_source(store, Path(sys.argv[1]))
imported = time.perf_counter()
after_import = peak()
*_, found = check_sources(store, [last.result])
checked = time.perf_counter()
*_, made = make_snapshot(store, SnapshotSpec(sources=(last.result,)))
done = {"import_seconds": imported - began, "check_seconds": checked - imported, "snapshot_seconds": time.perf_counter() - checked,
        "interpreter_mb": bare, "import_peak_mb": after_import, "peak_mb": peak(),
        "looker_peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "seconds": checked - began, "findings": found.figures["findings"]}
"""

PILLOW = """
import hashlib, io, sys, time
from pathlib import Path
from PIL import Image
began = time.perf_counter()
seen = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    content = path.read_bytes()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    seen.setdefault((hashlib.sha256(content).hexdigest(), picture.size), path)
done = {"seconds": time.perf_counter() - began}
"""

IMAGEDEDUP = """
import sys, time
from importlib.machinery import ModuleSpec
from types import ModuleType
class Nothing(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name, (), {"__init__": lambda self, *given, **named: None})
class Empty(ModuleType):
    __path__ = []
    def __getattr__(self, name): return Nothing.__getattr__(Nothing, name)
class StandIn:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.split(".")[0] in ("torch", "torchvision") else None
    def create_module(self, spec): return Empty(spec.name)
    def exec_module(self, module): pass
sys.meta_path.insert(0, StandIn())
from imagededup.methods import PHash
began = time.perf_counter()
hashing = PHash(verbose=False)
codes = hashing.encode_images(image_dir=sys.argv[1], num_enc_workers=2)
encoded = time.perf_counter()
hashing.find_duplicates(encoding_map=codes, max_distance_threshold=10, num_dist_workers=2)
done = {"encode_seconds": encoded - began, "seconds": time.perf_counter() - began}
"""


def draw(folder: Path, count: int) -> None:
    """Write pictures that look like no other: soft blots of random colours under a little grain, 64 x 64, as PNG."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(count):
        blots = Image.fromarray(chance.integers(0, 256, (6, 6, 3), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        grain = chance.integers(-4, 5, (SIDE, SIDE, 1))
        Image.fromarray(np.clip(np.asarray(blots) + grain, 0, 255).astype(np.uint8)).save(folder / f"{number:06}.png", compress_level=1)


def measured(python: str, code: str, *arguments: str) -> dict[str, float]:
    ending = "\nimport json\nprint(json.dumps(done))\n"
    guarded = "if True:\n" + "\n".join(f"    {line}" for line in (code + ending).splitlines())
    ran = subprocess.run([python, "-c", guarded, *arguments], stdout=subprocess.PIPE, check=True, text=True)
    return {name: round(value, 3) for name, value in json.loads(ran.stdout.splitlines()[-1]).items()}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    peer = str(HERE / ".env-peers" / "bin" / "python")
    for count in asked.counts:
        with tempfile.TemporaryDirectory() as scratch:
            folder, taken = Path(scratch) / "pictures", dict[str, list[dict[str, float]]]()
            draw(folder, count)
            for turn in range(asked.repeats):
                taken.setdefault("karat", []).append(measured(sys.executable, KARAT, str(folder), str(Path(scratch) / f"store-{turn}")))
                taken.setdefault("pillow loop", []).append(measured(sys.executable, PILLOW, str(folder)))
                taken.setdefault("imagededup", []).append(measured(peer, IMAGEDEDUP, str(folder)))
        for way, runs in taken.items():
            scores = {name: median(run[name] for run in runs) for name in runs[0]}
            row = {"what": "import", "data": f"{count:,} pictures", "contender": way, **machine()}
            row["scores"] = {"pictures/s": count / scores["seconds"], **scores}
            record(HERE / "results" / "import.json", row, key=("data", "contender"))
            print(count, way, row["scores"], flush=True)


if __name__ == "__main__":
    main()
