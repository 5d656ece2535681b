"""A real server for tests: a process of its own on a free port, with a worker, on a store with a release of pictures and two of texts."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from karat.app.chain import find, open_store
from karat.app.releasing import remember
from karat.material.releases import SigningKey, write_release
from karat.words.specs import canonical

LINES = [f"{colour} {thing} sat on the {place}" for colour in ("a red", "a blue") for thing in ("fox", "cat") for place in "abcdefgh"]


@dataclass
class Served:
    """A running server."""

    url: str
    key: str
    process: subprocess.Popen[str]
    store: Path
    seconds: float

    def end(self) -> int:
        """Ask the server to end, and give how it did."""
        self.process.send_signal(signal.SIGTERM)
        return self.waited()

    def waited(self) -> int:
        code = self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def serve(store: Path, *options: str) -> Served:
    """Start a server and wait until it is ready. The first one on a store has a key."""
    began = time.monotonic()
    command = [sys.executable, "-m", "karat.faces.cli", "--store", str(store), "--json", "serve", "--no-studio", "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = (store / "server.log").open("a")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    log.close()
    assert process.stdout is not None
    url = json.loads(process.stdout.readline() or "{}").get("listening", "")
    assert url, (store / "server.log").read_text()[-2_000:]
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:
                answer.read()
            break
        except (URLError, ConnectionError):
            assert process.poll() is None, (store / "server.log").read_text()[-2_000:]
            time.sleep(0.02)
    seconds = time.monotonic() - began
    key = (store / "first.key").read_text() if (store / "first.key").exists() else ""
    if not key and "--open" not in options:
        key = json.loads(process.stdout.readline())["key"]
        (store / "first.key").write_text(key)
    return Served(url, key, process, store, seconds)


def add_texts(folder: Path) -> None:
    """Train two tiny models of texts, one that goes on from a text and one that answers, and name their releases."""
    from karat.faces.cli.entry import run
    from karat.material.metrics.scores import result_of
    from karat.material.trust.text_originality import build_text_index

    index = result_of(build_text_index(((line, line) for line in LINES), ["nobody learnt this"]))
    place = str(folder / "store")
    plain, talk = folder / "plain.jsonl", folder / "talk.jsonl"
    plain.write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES))
    talk.write_text("".join(json.dumps({"prompt": f"Where is {line[:9]}?", "completion": f"On {line[-1]}."}) + "\n" for line in LINES))
    for name, file in (("plain", plain), ("talk", talk)):
        assert run(["--store", place, "--json", "data", "import", str(file), "--licence", "CC0-1.0"]) == 0
        assert run(["--store", place, "--json", "data", "snapshot", "latest", "--name", name]) == 0
        assert run(["--store", place, "--json", "train", name, "--steps", "4", "--size", "tiny", "--set", "made.length=64"]) == 0
        store = open_store(folder / "store")
        trained = find(store, "latest", "run")
        parts = {"spec.json": canonical(trained.spec), "model.safetensors": store.path(trained.made or ""), **index.parts()}
        write_release(folder / f"{name}.karat", parts, key=SigningKey.at(store.folder), facts={"title": name})
        store.alias(f"{name}:live", remember(store, folder / f"{name}.karat"))
        store.close()
