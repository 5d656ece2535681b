"""Looking at a picture's file once: facts about it, what is wrong with it, and a print by which its near duplicates are found.

The print is the picture on white, upright, in grey, at 16 x 16. Looking happens in processes of its own, so that two processors share the
work, and a file that brings a decoder down takes nothing else with it.
"""

import base64
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

LOOK = "image-2"
SIDE = 16
MAX_PIXELS = 100_000_000
MEMORY = 4 << 30
TRANSPOSED = {2: (0,), 3: (3,), 4: (1,), 5: (0, 2), 6: (4,), 7: (0, 4), 8: (2,)}
Seen = tuple[dict[str, Any], bytes | None]


def look(path: Path) -> Seen:
    """Give the facts and the print of one picture; a problem is a fact, never an error."""
    from PIL import Image, UnidentifiedImageError

    from karat.values.pictures import FORMATS

    if path.stat().st_size == 0:
        return _problem("empty", "The file holds no bytes."), None
    try:
        with Image.open(path, formats=FORMATS) as picture:
            facts = {"width": picture.width, "height": picture.height, "mode": picture.mode, "format": picture.format}
            if picture.width * picture.height > MAX_PIXELS:
                return facts | _problem("bomb", f"It would unfold to {picture.width} x {picture.height} pixels."), None
            return _decoded(picture, facts)
    except UnidentifiedImageError:
        message = "It holds text, no picture." if _is_text(path) else f"It is no picture in {', '.join(FORMATS)}."
        return _problem("unreadable", message), None
    except MemoryError:
        return _problem("bomb", "Decoding it takes more than four gigabytes."), None
    except Exception as error:  # a decoder may raise anything at all for a hostile file
        return _problem("unreadable", f"It cannot be opened: {error}."), None


def _decoded(picture: Any, facts: dict[str, Any]) -> Seen:
    """Decode all of the picture, coarsely where its format allows, and take the print."""
    try:
        orientation = picture.getexif().get(0x0112, 1)
        picture.draft("RGB", (SIDE * 4, SIDE * 4))
        print = _print(picture)
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        return facts | _problem("truncated", f"It cannot be decoded to its end: {error}."), None
    for turn in TRANSPOSED.get(orientation, ()):
        print = print.transpose(turn)
    if orientation in (5, 6, 7, 8):
        facts |= {"width": facts["height"], "height": facts["width"]}
    return facts, print.tobytes()


def _print(picture: Any) -> Any:
    from PIL import Image

    size = (SIDE, SIDE)
    picture.load()
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda level: level / 257).convert("L").resize(size, Image.Resampling.BILINEAR)
    if picture.mode in ("I", "F"):
        low, high = picture.getextrema()
        scale = 255 / max(high - low, 1e-9)
        return picture.convert("F").point(lambda level: level * scale - low * scale).convert("L").resize(size, Image.Resampling.BILINEAR)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        picture = white
    return picture.convert("L").resize(size, Image.Resampling.BILINEAR)


def _problem(check: str, message: str) -> dict[str, Any]:
    return {"problem": {"check": check, "message": message}}


def _is_text(path: Path) -> bool:
    with path.open("rb") as reading:
        start = reading.read(4096)
    return b"\0" not in start and start.decode("utf-8", "ignore").strip() != ""


class Lookers:
    """Processes that look at files, asked for one batch each at a time, which they give back in order."""

    def __init__(self, count: int = 2) -> None:
        self._processes = [_start() for _ in range(count)]
        self._asked: list[tuple[int, Sequence[Path]]] = []
        self._next = 0

    def __enter__(self) -> "Lookers":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    @property
    def full(self) -> bool:
        return len(self._asked) == len(self._processes)

    @property
    def waiting(self) -> int:
        return len(self._asked)

    def ask(self, paths: Sequence[Path]) -> None:
        """Give a batch to the next process, which must be free."""
        assert not self.full, "answers come first"
        which = self._next
        self._next = (which + 1) % len(self._processes)
        self._asked.append((which, paths))
        _say(self._processes[which], paths)

    def answer(self) -> list[Seen]:
        """Give what was found at the batch that was asked first."""
        which, paths = self._asked.pop(0)
        seen = _hear(self._processes[which])
        return seen if seen is not None else [self._alone(which, path) for path in paths]

    def _alone(self, which: int, path: Path) -> Seen:
        """Look at one file of a batch that a process did not survive."""
        if self._processes[which].poll() is not None:
            self._processes[which].communicate()
            self._processes[which] = _start()
        _say(self._processes[which], [path])
        seen = _hear(self._processes[which])
        return seen[0] if seen is not None else (_problem("unreadable", "The decoder does not survive it."), None)


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __name__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)


def _say(process: subprocess.Popen[bytes], paths: Sequence[Path]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps([str(path) for path in paths]).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        process.wait()


def _hear(process: subprocess.Popen[bytes]) -> list[Seen] | None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        process.wait()
        return None
    return [(facts, None if print is None else base64.b64decode(print)) for facts, print in json.loads(line)]


def serve(asking: IO[bytes], answering: IO[bytes]) -> None:
    """Look at the files of each line of paths, until there is no more line."""
    import resource

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # `look` has a limit of its own, and says more
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in asking:
        seen = (look(Path(path)) for path in json.loads(line))
        answer = [(facts, None if print is None else base64.b64encode(print).decode()) for facts, print in seen]
        answering.write(json.dumps(answer).encode() + b"\n")
        answering.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
