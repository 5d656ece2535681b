"""The studio for tests: a server on a store, and a browser that nothing outside is reached from."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME, PASSWORD = "Ann", "a long password"
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Served:
    """Where a studio is served, and the first key."""

    address: str
    key: str | None


@contextmanager
def serving(store: Path, *words: str) -> Iterator[Served]:
    """Serve a store that has no key yet, or an open one, until the block ends."""
    command = [sys.executable, "-m", "karat.faces.cli", "--store", str(store), "--json", "serve", "--port", "0", "--grace", "3", *words]
    own = {name: value for name, value in os.environ.items() if name not in ("PYTEST_CURRENT_TEST", "NICEGUI_SCREEN_TEST_PORT")}
    log = (store.parent / "serve.log").open("w")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env={**own, "OMP_NUM_THREADS": "1"})
    try:
        said: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            said |= json.loads(line)
            if "key" in said or "--open" in words:
                break
        assert "listening" in said, (store.parent / "serve.log").read_text()[-2000:]
        yield Served(said["listening"], said.get("key"))
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


@contextmanager
def browsing(**options: Any) -> Iterator[Any]:
    """Give a page of a browser; what it complains of, beside what is refused on purpose, fails at the end."""
    from playwright.sync_api import sync_playwright

    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en", **options})
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        yield page
        browser.close()
    assert not wrong, wrong
