"""What goes wrong is said in Chinese to who reads Chinese: every error that a person can meet in the studio has its sentences."""

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

import karat
from karat.faces.studio.chinese_errors import ERRORS
from karat.faces.studio.words import wrong
from karat.words.errors import KaratError

MET = (
    "app/aliasing",
    "app/assets",
    "app/chain",
    "app/comparing",
    "app/failures",
    "app/keys",
    "app/lots",
    "app/people",
    "app/policy",
    "app/releasing",
    "app/removing",
    "app/serving/asking",
    "app/serving/catalog",
    "app/serving/desk",
    "app/serving/drawing",
    "app/serving/service",
    "app/serving/worker",
    "app/settings",
    "app/training",
    "app/verdicts",
    "app/watching",
    "faces/studio/visit",
    "learning/models",
    "material/data/batches",
    "material/data/samples",
    "material/data/snapshots",
    "material/data/sources",
    "material/metrics/agreement",
    "store/accounts",
    "store/answers",
    "store/queue",
    "store/records",
    "store/store",
    "values/codecs/image",
    "values/codecs/label",
    "values/codecs/numbers",
    "values/pictures",
    "work/recipes/recipes",
    "work/runs",
    "work/training",
)
"""The modules whose errors a person meets who only uses the studio."""
ROOT = Path(karat.__file__).parent


def sentences() -> Iterator[tuple[str, str]]:
    """Give the templates of all sentences of errors, `{}` where a value stands, and where they are."""
    for name in MET:
        path = ROOT / f"{name}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]:
            known = {
                each.targets[0].id: each.value
                for each in ast.walk(function)
                if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
            }
            for node in ast.walk(function):
                repair = [each.value for each in getattr(node, "keywords", ()) if each.arg == "repair"]
                if isinstance(node, ast.Call) and repair and node.args:
                    for said in (node.args[0], *repair):
                        for template in _templates(said, known):
                            yield template, name


def _templates(said: ast.expr, known: dict[str, ast.expr]) -> Iterator[str]:
    """Give what an expression can say; nothing for what another place says."""
    if isinstance(said, ast.Constant):
        yield str(said.value)
    elif isinstance(said, ast.JoinedStr):
        parts = [each.value if isinstance(each, ast.FormattedValue) else each for each in said.values]
        yield from map("".join, product(*(list(_templates(each, known)) or ["{}"] for each in parts)))
    elif isinstance(said, ast.IfExp):
        yield from _templates(said.body, known)
        yield from _templates(said.orelse, known)
    elif isinstance(said, ast.Name) and said.id in known:
        yield from _templates(known[said.id], {})


def test_every_error_that_is_met_in_the_studio_has_its_chinese() -> None:
    met = dict(sentences())
    assert len(met) > 150
    assert not {text: place for text, place in met.items() if re.search(r"[a-z]{2}", text.replace("{}", "")) and text not in ERRORS}
    for english, chinese in ERRORS.items():
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
        places = re.findall(r"\{(\d*)\}", chinese)
        assert len(places) <= english.count("{}"), english
        assert all(not place or int(place) < english.count("{}") for place in places), english
        assert len({bool(place) for place in places}) <= 1, english


@pytest.mark.parametrize(
    ("problem", "repair", "told"),
    [
        ("There is no person called 'bob'.", "Look at the list of people.", ("没有名为 'bob' 的人员。", "请查看人员列表。")),
        ("The train part of the snapshot is empty.", "Nobody knows.", ("快照的训练部分是空的。", "Nobody knows.")),
        ("a.zip cannot be read: no: rights.", "Change its permissions.", ("a.zip 无法读取：no: rights。", "请修改其权限。")),
        ("This should cost 3 EUR; 1 of 2 are left.", "Sign in again.", ("预计花费 3 EUR；预算 2 中还剩 1。", "请重新登录。")),
        (
            "a.zip would unfold to 9 megabytes from 1 kB, as zip bombs do.",
            "Leave it out.",
            ("a.zip 解压后会从 1 kB 变成 9 MB，像是压缩炸弹。", "请去掉它。"),
        ),
    ],
)
def test_an_error_is_said_with_what_it_is_about(problem: str, repair: str, told: tuple[str, str]) -> None:
    error = KaratError(problem, repair=repair)
    assert wrong(error, chinese=True) == told
    assert wrong(error, chinese=False) == (problem, repair)
