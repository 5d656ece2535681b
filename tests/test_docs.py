"""The docs under test: every command in them parses, the tour is taken, the reference is what the code says now, links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from shell import QUICK, TINY

import karat
from karat.faces.cli.entry import app, run

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
STANDING_IN = {"--minutes": ["--steps", "12", *TINY], "evaluate": list(QUICK)}
"""What the tour is taken with in place of minutes and full measuring: documented options, small figures."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, *languages: str) -> list[str]:
    """Give the code blocks of some languages."""
    return [code for language, code in FENCE.findall(text) if language in languages]


def command_lines(text: str) -> Iterator[str]:
    """Give every `karat …` in code blocks and between backquotes, up to what only the shell sees; those with … are no commands."""
    for line in [line.strip() for code in blocks(text, "sh", "") for line in code.splitlines()]:
        if line.startswith("karat "):
            yield line
    for code in re.findall(r"`(karat [^`\n]+)`", FENCE.sub("", text)):
        if "…" not in code:
            yield code


def words_of(line: str) -> list[str]:
    """Give a command's words without what the shell takes: pipes, redirections, comments."""
    words = shlex.split(line, comments=True)
    ends = [place for place, word in enumerate(words) if word in ("|", ">", "&&", ";")]
    return words[1 : min(ends, default=len(words))]


def parse(words: list[str]) -> None:
    """Parse a command line by the real parser, without running it. Raises its usage error."""
    command: Any = typer.main.get_command(app)
    context = None
    name = "karat"
    while True:
        try:
            context = command.make_context(name, list(words), parent=context)
        except typer.Exit:
            return
        if not hasattr(command, "commands"):
            return
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])


PARSED = sorted({(name_of(path), line) for path in PAGES for line in command_lines(path.read_text(encoding="utf-8"))})


@pytest.mark.parametrize(("page", "line"), PARSED)
def test_every_command_in_the_docs_exists(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARAT_STORE", "nowhere")
    words = words_of(line)
    parse([*words, "--help"] if is_only_a_name(words) else words)


def is_only_a_name(words: list[str]) -> bool:
    """Say whether words name a command and give it nothing, as a sentence about it does."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word)
    return command is not None


def test_the_parser_of_this_test_refuses_what_does_not_exist() -> None:
    assert len(PARSED) > 60
    for words in (["train", "digits", "--epochs", "3"], ["data", "clean"], ["show"], ["evaluate", "latest", "--samples", "many"]):
        with pytest.raises(Exception, match=r"epochs|clean|ref|many|integer"):
            parse(words)


def test_the_reference_is_up_to_date() -> None:
    """Whatever is missing here is written by `make docs`."""
    checked = subprocess.run([sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_everything_has_a_place_in_the_reference() -> None:
    """Asked of a fresh interpreter, in which no test has registered anything."""
    listed = subprocess.run([sys.executable, "-c", LIST], cwd=DOCS, capture_output=True, text=True, check=True).stdout
    wanted = [line.split("\t") for line in listed.splitlines()]
    assert len(wanted) > 100
    for page, marked in wanted:
        assert marked in (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8"), f"{marked} is not in docs/reference/{page}.md"


LIST = """
from generate import commands, global_options, registries, things
from karat.words.errors import KaratError
from karat.words.events import Event
for name, command in commands():
    print("commands", f"## {name}", sep="\\t")
    for parameter in command.params:
        if parameter.param_type_name == "option":
            print("commands", parameter.opts[0], sep="\\t")
for parameter in global_options():
    print("commands", parameter.opts[0], sep="\\t")
for event in things(Event).values():
    print("events", f"## {event.model_fields['kind'].default}", sep="\\t")
for name, error in things(KaratError).items():
    print("errors", f"`{error.code}` | {error.exit_code} | `{name}`", sep="\\t")
for kind, registry in registries().items():
    print("registries", f"## {kind}", sep="\\t")
    for name in registry:
        print("registries", f"| `{name}` |", sep="\\t")
"""


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.exists(), f"{target} does not exist"
        if anchor:
            headings = [anchor_of(line) for line in found.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
            assert anchor in headings, f"{target} names no heading"


def anchor_of(heading: str) -> str:
    """Give the anchor that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_named_in_the_docs_exist(path: Path) -> None:
    for named in re.findall(r"`((?:karat|tests|docs|benchmarks|examples)/[\w./-]+)`", path.read_text(encoding="utf-8")):
        assert (ROOT / named).exists() or named in MADE_BY_WORK, f"{named} does not exist"


MADE_BY_WORK = {"benchmarks/results/"}


def test_both_readmes_say_the_same_commands() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))

    def commands(text: str) -> list[str]:
        lines = [line.split("  #")[0].rstrip() for code in blocks(text, "sh") for line in code.splitlines()]
        return [line for line in lines if line]

    assert commands(english) == commands(chinese)
    assert sorted(command_lines(english)) == sorted(command_lines(chinese))
    pictures = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
    assert pictures.findall(english) == pictures.findall(chinese)


def test_the_changelog_knows_the_version() -> None:
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert found[1] == karat.__version__


def test_pictures_are_small() -> None:
    for path in (DOCS / "pictures").iterdir():
        assert path.stat().st_size < 200_000, path.name


def test_every_family_and_decision_is_told() -> None:
    from karat.learning.families.family import families
    from karat.learning.models import Model  # noqa: F401 - the families register themselves

    maturity = (DOCS / "maturity.md").read_text(encoding="utf-8")
    choice = (DOCS / "how-to" / "train.md").read_text(encoding="utf-8")
    for name in families:
        if families[name].__module__.startswith("karat."):
            assert f"`{name}`" in maturity
            assert f"`{name}`" in choice
    listed = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for path in (DOCS / "decisions").glob("0*.md"):
        assert path.name in listed


def test_the_tour_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run each command of the README's tour in turn, in this process, and then the Python of docs/index.md on what it left."""
    from karat.app.demo import write_digits

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KARAT_STORE", raising=False)
    write_digits(tmp_path / "demo" / "digits")
    tour = (ROOT / "README.md").read_text(encoding="utf-8").partition("## A five-minute tour")[2].partition("\n## ")[0]
    lines = [line for code in blocks(tour, "sh") for line in code.splitlines() if line.startswith("karat ")]
    assert len(lines) >= 10
    for line in lines:
        code = run(quickly(expanded(words_of(line))))
        assert code == 0, f"{line}: {capsys.readouterr().err}"
    assert len(list(Path("out").glob("*.png"))) == 8
    assert next(Path("again").glob("*.png")).read_bytes() in [path.read_bytes() for path in Path("out").glob("*.png")]
    for code in blocks((DOCS / "index.md").read_text(encoding="utf-8"), "python"):
        exec(compile(code, "docs/index.md", "exec"), {})
    assert len(list(Path("sevens").glob("*.png"))) == 4


def expanded(words: list[str]) -> list[str]:
    """Put files in the place of patterns, as a shell does."""
    return [each for word in words for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]


def quickly(words: list[str]) -> list[str]:
    """Give a command a budget for a test: steps in the place of minutes, quick measuring."""
    if "--minutes" in words:
        place = words.index("--minutes")
        return [*words[:place], *STANDING_IN["--minutes"], *words[place + 2 :]]
    return [*words, *STANDING_IN.get(words[0], [])]


CHECK = """
import torch
from chess import ChessCodec
from normal import Normal
from karat.learning.models import Model, ModelSpec
from karat.values.codecs.codec import Codec, codecs
from karat.values.given import Given
from karat.words.errors import DataError
from karat.work.plans import TrainingPlan
from karat.work.training import begin, take_step

codec = codecs["chess"].fit({}, [])
assert isinstance(codec, Codec)
opening = b"rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR"
board = codec.value(torch.from_numpy(codec.encode(opening))[None])
codec.space.check(board)
assert codec.write(codec.decode(board[0])) == opening
try:
    codec.encode(b"8/8")
except DataError as error:
    assert error.repair
else:
    raise SystemExit("a short board was taken")

class Boards:
    def batch(self, step, size, generator):
        return board.expand(size, 8, 8), Given()

for kind in ("normal", "autoregressive"):
    model = Model(ModelSpec.from_values({"space": codec.space, "family": {"kind": kind}}))
    run = begin(model, TrainingPlan(steps=30, batch=4, rate=0.05, warmup=0))
    figures = [float(take_step(run, Boards())["loss"]) for _ in range(30 if kind == "normal" else 2)]
    assert figures[-1] < figures[0], (kind, figures)
    made = model.made(Given(), model.sampling(), [(0, 0), (0, 1)])
    codec.space.check(made)
"""


def test_the_examples_for_contributors_work(tmp_path: Path) -> None:
    """In a process of its own, for what they register stays registered."""
    codec, family = blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "chess.py").write_text(codec, encoding="utf-8")
    (tmp_path / "normal.py").write_text(family, encoding="utf-8")
    (tmp_path / "check.py").write_text(CHECK, encoding="utf-8")
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "check.py"],
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
