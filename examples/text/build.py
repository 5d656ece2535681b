"""Build the data of a text task from what any machine with Python has, as a .jsonl that `karat data import` reads.

    python examples/text/build.py chat chat.jsonl
    python examples/text/build.py translate en-zh.jsonl --captions emoji/metadata.jsonl

The texts are the first lines of the docstrings in Python's library and the pages of `pydoc_data.topics` (Python Software Foundation
License). Translations come from rows with `text` and `text_zh`, as examples/emoji builds them; writing on a topic from rows with `topic`
and `text`, if there are any.
"""

import argparse
import importlib
import inspect
import json
import pkgutil
import random
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
LEFT_OUT = ("antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo")
"""Modules that do something when they are imported, or need a screen."""
KINDS = 12
"""Modules among which a description is told apart."""
PASSAGES = 3
"""Passages in which a function is asked for."""
PERSONAS = {
    "You are brief.": "{}",
    "You are friendly.": "Gladly! {} Is there anything else?",
}

VARIED = re.compile(r"\b(an?|the|(medium-)?(light|dark)|medium|skin|tone|person|people|(wo)?m[ae]n|boy|girl)\b|\W+")
"""Words in which the variants of one caption differ."""


@dataclass(frozen=True)
class Described:
    """A function or class of Python's library: where it lies, what it says of itself in one line, and in more."""

    module: str
    name: str
    line: str
    rest: str


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("file", type=Path, help="the .jsonl to write; it must be new")
    parser.add_argument("--captions", type=Path, nargs="+", default=[], help="for translate: .jsonl files with text and text_zh")
    parser.add_argument("--back", action="store_true", help="for translate: from Chinese")
    parser.add_argument("--topics", type=Path, help="for write: a .jsonl with topic and text, in place of keywords")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.file.exists():
        sys.exit(f"{asked.file} is there already. Delete it, or choose another name.")
    if asked.task == "translate" and not asked.captions:
        sys.exit("There is nothing to translate. Give --captions emoji/metadata.jsonl; examples/emoji/README.md says how to build it.")
    rows = list(TASKS[asked.task](asked))
    asked.file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows):,} rows in {asked.file}")


def write(asked: argparse.Namespace) -> Iterator[Row]:
    """Sentences after three of their words, or texts after their topic."""
    if asked.topics:
        for row in rows_of(asked.topics):
            yield {"prompt": row["topic"], "completion": row["text"]}
        return
    chance = random.Random(asked.seed)
    sentences = list(dict.fromkeys(sentences_of_topics()))
    known = Counter(word for sentence in sentences for word in set(words_in(sentence)))
    for sentence in sentences:
        telling = sorted(set(words_in(sentence)), key=lambda word: (known[word], word))[:3]
        if len(telling) == 3:
            yield {"prompt": ", ".join(chance.sample(telling, 3)), "completion": sentence}


def chat(asked: argparse.Namespace) -> Iterator[Row]:
    """Conversations about functions in two manners, which the persona chooses."""
    chance = random.Random(asked.seed)
    for each in library():
        persona, manner = chance.choice(list(PERSONAS.items()))
        about = [("What does {} do?", each.line), ("Where is {}?", f"In the module {each.module}.")]
        chance.shuffle(about)
        turns = [(about[0][0].format(each.name), about[0][1]), (about[1][0].format("it"), about[1][1])]
        if chance.random() < 0.3:
            turns = [("Hello.", "Ask me about a function."), *turns]
        messages = [{"role": "system", "content": persona}]
        for question, answer in turns:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": manner.format(answer)}]
        yield {"messages": messages, "group": each.name}


def translate(asked: argparse.Namespace) -> Iterator[Row]:
    """Captions in two languages; what differs by skin tone or gender alone is one group."""
    for path in asked.captions:
        for row in rows_of(path):
            if row.get("text") and row.get("text_zh"):
                source, target = (row["text_zh"], row["text"]) if asked.back else (row["text"], row["text_zh"])
                yield {"source": source, "target": target, "group": family_of(row["text"])}


def family_of(caption: str) -> str:
    """Give a caption without the words in which variants differ."""
    return " ".join(VARIED.sub(" ", caption.lower()).split()) or caption


def summarise(asked: argparse.Namespace) -> Iterator[Row]:
    """Docstrings and their first lines."""
    for each in library():
        if 80 <= len(each.rest) <= 600:
            yield {"source": each.rest, "target": each.line, "group": each.name}


def answer(asked: argparse.Namespace) -> Iterator[Row]:
    """Passages that say where four functions lie, with a question about one; each is asked for among others several times."""
    chance = random.Random(asked.seed)
    known = list(library())
    for each in known * PASSAGES:
        others = {other.module: other for other in chance.sample(known, 12) if other.module != each.module}
        told = [f"{one.name} is in {one.module}." for one in [each, *list(others.values())[:3]]]
        prompt = f"{' '.join(chance.sample(told, len(told)))} Where is {each.name}?"
        yield {"prompt": prompt, "completion": each.module, "group": each.name}


def label(asked: argparse.Namespace) -> Iterator[Row]:
    """Descriptions with the module that they come from."""
    found = list(library())
    most = {module for module, _ in Counter(each.module for each in found).most_common(KINDS)}
    yield from ({"prompt": each.line, "completion": each.module, "group": each.name} for each in found if each.module in most)


TASKS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    task.__name__: task for task in (write, chat, translate, summarise, answer, label)
}


def library() -> Iterator[Described]:
    """Give the described functions and classes of Python's library, each description once, in the order of the modules' names."""
    seen: set[str] = set()
    by_module: dict[str, list[Described]] = defaultdict(list)
    for name in sorted(sys.stdlib_module_names):
        if not name.startswith("_") and name not in LEFT_OUT:
            for module in modules_of(name):
                by_module[name] += described(name, module)
    for each in (each for found in by_module.values() for each in found):
        if each.line not in seen:
            seen.add(each.line)
            yield each


def modules_of(name: str) -> Iterator[Any]:
    """Import a module and those right below it; those that cannot be imported here are passed over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(name)
            yield module
            for below in pkgutil.iter_modules(getattr(module, "__path__", [])):
                if not below.name.startswith("_") and below.name not in LEFT_OUT:
                    yield importlib.import_module(f"{name}.{below.name}")
        except (ImportError, SystemExit, OSError):
            return


def described(module: str, part: Any) -> Iterator[Described]:
    """Give what a module's own public functions, classes and methods say of themselves."""
    for name, thing in sorted(vars(part).items()):
        if name.startswith("_") or not (inspect.isroutine(thing) or inspect.isclass(thing)):
            continue
        if getattr(thing, "__module__", None) != part.__name__:
            continue
        members = [(f"{name}.{inner}", each) for inner, each in sorted(vars(thing).items())] if inspect.isclass(thing) else []
        for full, each in [(name, thing), *members]:
            text = inspect.cleandoc(each.__doc__ or "") if inspect.isroutine(each) or inspect.isclass(each) else ""
            line, _, rest = text.partition("\n\n")
            line = " ".join(line.split())
            if not full.rpartition(".")[2].startswith("_") and 15 <= len(line) <= 160 and line.endswith(".") and line.isascii():
                yield Described(module, full, line, " ".join(rest.split()))


def sentences_of_topics() -> Iterator[str]:
    """Give the sentences of Python's help pages that are prose."""
    from pydoc_data.topics import topics

    for page in topics.values():
        for paragraph in re.split(r"\n\s*\n", page):
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
                if re.fullmatch(r"[A-Z][\w ,;:'()\"-]{40,180}\.", sentence):
                    yield sentence


def words_in(sentence: str) -> list[str]:
    """Give the longer words of a sentence."""
    return re.findall(r"[a-z]{4,}", sentence.lower())


def rows_of(path: Path) -> Iterator[Row]:
    """Read a .jsonl."""
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


if __name__ == "__main__":
    main()
