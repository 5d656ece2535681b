"""The layout of the house: floors, sizes, names, and what each part may import. Everything is read from the source, nothing is run."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "karat"
FLOORS = ("words", "store", "values", "learning", "material", "work", "app", "faces")
SOURCES = sorted(PACKAGE.rglob("*.py"))
OURS = [*SOURCES, *sorted(path for part in ("tests", "benchmarks", "docs", "examples") for path in (ROOT / part).rglob("*.py"))]
OURS = [path for path in OURS if not any(part.startswith(".") or part == "stand_in" for part in path.relative_to(ROOT).parts)]

CONFINED = {
    "PIL": (
        "values.pictures",
        "values.codecs.image",
        "material.data.looking",
        "material.data.preview",
        "material.report",
        "app.data",
        "app.demo",
        "app.films",
        "app.generating",
    ),
    "sqlalchemy": ("store",),
    "boto3": ("store.s3",),
    "botocore": ("store.s3",),
    "jinja2": ("material.report", "values.chat_templates"),
    "markupsafe": ("material.report",),
    "argon2": ("app.people",),
    "fastapi": ("faces.http", "faces.studio"),
    "nicegui": ("faces.studio",),
    "starlette": ("faces.http",),
    "httpx": ("app.serving.webhooks",),
    "uvicorn": ("faces.http.serving",),
    "prometheus_client": ("faces.http.metrics",),
    "typer": ("faces.cli",),
    "rich": ("faces.cli",),
    "tokenizers": ("values.codecs", "values.tokenizer_files", "work.export.language", "work.export.pretrained"),
    "ctranslate2": ("work.export.ctranslate", "work.export.pretrained", "work.engines.ctranslate"),
    "gguf": ("work.export.gguf_file",),
    "onnx": ("work.export.onnx_graph",),
    "safetensors": ("values.tensors", "work.checkpoints", "material.trust.originality"),
    "cryptography": ("material.releases.signing",),
    "pyarrow": ("material.data.tables",),
    "onnxruntime": ("material.metrics.networks",),
    "schedulefree": ("work.optimizers",),
    "sacrebleu": ("material.metrics.texts.overlap",),
    "sklearn": ("app.demo", "material.metrics.texts.features"),
    "rensa": ("material.data.texts.likeness",),
    "yaml": ("words.specs", "app.settings", "app.training"),
    "huggingface_hub": ("work.bases",),
    "peft": ("learning.nets.pretrained",),
    "transformers": ("values.chat_templates", "learning.nets.pretrained"),
    "llguidance": ("work.constraints",),
    "torch": ("values", "learning", "material", "work", "app"),
}
"""Where each library of others may be imported: a module or a floor. pydantic and numpy are everywhere."""

EVERYWHERE = {"pydantic", "numpy", "karat"}
NO_TORCH = ("words", "store", "faces")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}
FORBIDDEN_CLASSES = re.compile(r"(Manager|Helper|Util|Utils|Handler|Processor|Base)$")


START = """
import sys
from karat.faces.cli import main
sys.argv = ["karat", "--help"]
try:
    main()
except SystemExit as end:
    heavy = sorted({"torch", "PIL", "sklearn", "scipy", "sqlalchemy", "numpy"} & set(sys.modules))
    sys.exit(", ".join(heavy) or end.code)
"""


def name_of(path: Path) -> str:
    """Give a module's name below the package: `material.data.checks`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


TREES = {name_of(path): tree_of(path) for path in SOURCES}


def imports_of(name: str, *, lazy: bool = True, for_types: bool = True) -> Iterator[tuple[str, int]]:
    """Give every module that a module imports, with the line; inside functions and under TYPE_CHECKING as well, unless left out."""
    for node in _nodes(TREES[name], lazy, for_types):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"karat.{name} line {node.lineno} imports relatively"
            assert node.module is not None
            yield from ((each, node.lineno) for each in _modules(node.module, [alias.name for alias in node.names]))


def _nodes(node: ast.AST, lazy: bool, for_types: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not lazy and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not for_types and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _nodes(child, lazy, for_types)


def _modules(module: str, names: list[str]) -> list[str]:
    """Give what `from module import names` loads: submodules where the names are such, else the module itself."""
    below = [f"{module}.{name}" for name in names if f"{module}.{name}".removeprefix("karat.") in TREES and module.startswith("karat")]
    return below if len(below) == len(names) else [module, *below]


def within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def test_the_floors_are_those_of_the_design() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(FLOORS)


@pytest.mark.parametrize("name", [name for name in TREES if name])
def test_imports_go_down_only(name: str) -> None:
    """Lazy imports and imports for types count as well."""
    height = FLOORS.index(name.partition(".")[0])
    wrong = []
    for imported, line in imports_of(name):
        if imported.startswith("karat."):
            floor = imported.split(".")[1]
            if floor in FLOORS and FLOORS.index(floor) > height:
                wrong.append(f"line {line}: {imported}")
    assert not wrong


def test_faces_call_the_use_cases_alone() -> None:
    """Words and the store may be named for types; all work is asked of the app."""
    for name in TREES:
        if name.startswith("faces"):
            for imported, line in imports_of(name, for_types=False):
                if imported.startswith("karat."):
                    assert imported.split(".")[1] in ("faces", "app", "words"), f"karat.{name} line {line} imports {imported}"


def test_modules_do_not_import_in_circles() -> None:
    graph = {
        name: {imported.removeprefix("karat.") for imported, _ in imports_of(name, for_types=False) if imported.startswith("karat.")}
        for name in TREES
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name in done:
            return
        for imported in graph.get(name, ()):
            if imported != name:
                visit(imported, (*way, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", list(TREES))
def test_libraries_of_others_stay_where_they_belong(name: str) -> None:
    for imported, line in imports_of(name):
        library = imported.partition(".")[0]
        if library in EVERYWHERE or library in sys.stdlib_module_names:
            continue
        assert library in CONFINED, f"karat.{name} line {line}: {library} has no place in this list yet"
        assert within(name, CONFINED[library]), f"karat.{name} line {line}: {library} belongs in {', '.join(CONFINED[library])}"


def test_the_list_of_places_is_no_longer_than_it_must_be() -> None:
    used = {(imported.partition(".")[0], name) for name in TREES for imported, _ in imports_of(name)}
    for library, places in CONFINED.items():
        for place in places:
            assert any(each == library and within(name, (place,)) for each, name in used), f"{place} does not import {library}"


def test_words_store_and_faces_never_name_torch() -> None:
    for name in TREES:
        if name.partition(".")[0] in NO_TORCH:
            assert not any(imported.partition(".")[0] == "torch" for imported, _ in imports_of(name)), name


def test_the_command_line_starts_without_torch() -> None:
    ran = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"karat --help imported {ran.stderr}"
    assert "karat data import" in ran.stdout


def test_a_run_that_is_not_there_is_refused_without_torch(tmp_path: Path) -> None:
    words = ["--store", str(tmp_path), "evaluate", "nothing"]
    code = f"import sys; from karat.faces.cli.entry import run; code = run({words}); sys.exit(99 if 'torch' in sys.modules else code)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 4, ran.stderr
    assert "nothing called 'nothing'" in ran.stderr


def test_words_and_store_are_loaded_without_torch() -> None:
    modules = [f"karat.{name}" for name in TREES if name.partition(".")[0] in ("words", "store")]
    code = f"import sys, importlib; [importlib.import_module(name) for name in {modules}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    said = ast.get_docstring(tree_of(path))
    assert said, "the file begins with no docstring"
    assert said.rstrip()[-1] in ".:" or "\n" in said, "a docstring is a sentence"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    """A file has one subject, a function one thought."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("name", list(TREES))
def test_arguments_are_few(name: str) -> None:
    """Seven at most; commands of the command line have one for each option."""
    commands = {node.args[0].id for node in _registered(name) if node.args and isinstance(node.args[0], ast.Name)}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef) and not (name.startswith("faces.cli") and (node.decorator_list or node.name in commands)):
            arguments = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            own = [each for each in arguments if each not in ("self", "cls")]
            assert len(own) <= 7, f"{node.name} takes {len(own)} arguments"


def _registered(name: str) -> Iterator[ast.Call]:
    """Give the calls `app.command(…)(function)`."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and ast.unparse(node.func.func) == "app.command":
            yield node


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_words(path: Path) -> None:
    assert not FORBIDDEN_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            assert not FORBIDDEN_CLASSES.search(node.name), node.name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_unpickled_or_executed(path: Path) -> None:
    tree = tree_of(path)
    for imported, line in imports_of(name_of(path)):
        assert imported.partition(".")[0] not in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"), line
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.save", "torch.jit.load", "torch.export.load", "eval", "exec", "yaml.load"), called
            assert not called.endswith("numpy.load") or "allow_pickle=True" not in ast.unparse(node), called


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_randomness_is_passed_in(path: Path) -> None:
    """Nobody draws from a stream that all share; `torch.manual_seed` stands inside `fork_rng`, which gives the stream back."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            shared = re.fullmatch(r"(np|numpy)\.random\.(seed|rand|randn|randint|random|shuffle|permutation|choice|normal|uniform)", called)
            assert not shared, called
            assert not re.fullmatch(r"random\.\w+", called) or "np.random" in text, called
            if called == "torch.manual_seed":
                assert "fork_rng" in text


def test_nothing_is_left_for_later() -> None:
    for path in SOURCES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line), f"{path.name}:{number}"
