"""Bases: pretrained models that a run starts from, kept in the store file by file, with their licence and origin on the chain.

A base is a folder as the Hugging Face hub lays it out. Weights are read from safetensors alone, since other formats can run code; code
that lies in the folder is neither kept nor run.
"""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from karat.learning.nets.pretrained import check_config, check_installed
from karat.store.records import Record
from karat.store.store import Store
from karat.values.chat_templates import ChatTemplate
from karat.values.tensors import TensorFile
from karat.values.tokenizer_files import highest_id, id_of, opens_with, token_of, with_end_first
from karat.words.errors import DataError, NotFoundError, SpecError
from karat.words.specs import canonical
from karat.work.recipes.dials import Dials

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
NEEDED = ("config.json", "tokenizer.json")
USEFUL = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json", "README.md")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
CONVERT = "from transformers import AutoModelForCausalLM as M; M.from_pretrained('.').save_pretrained('.')"


def bring_base(store: Store, where: str) -> str:
    """Put a base into the store and give its record: from a folder, or by its name on the hub. Bringing it again changes nothing.

    Raises NotFoundError for a folder or name that is not there, DataError for a folder that lacks something, SpecError for a model that
    cannot be used.
    """
    check_installed()
    path = Path(where).expanduser()
    folder, origin = (path.resolve(), f"folder:{path.resolve().name}") if path.is_dir() else _from_hub(where)
    names = _files(folder)
    files = {name: store.put(folder / name) for name in names}
    made = store.put(canonical({"files": files}))
    said = {"name": folder.name if path.is_dir() else where, "licence": _licence(folder), "origin": origin}
    config = _json(store, files["config.json"], "config.json")
    check_config(config)
    id = store.record("base", made=made, spec=said, facts={"architecture": (config.get("architectures") or ["unknown"])[0]})
    BaseFiles.open(store, id).settings  # noqa: B018 - refuses a base whose parts do not fit together, before anything is planned
    return id


class BaseFiles:
    """The files of a base, as they lie in the store."""

    def __init__(self, store: Store, files: Mapping[str, str]) -> None:
        self._store, self._files = store, files

    @classmethod
    def open(cls, store: Store, id: str) -> Self:
        """Open the base of a record."""
        record: Record = store.get(id)
        if record.kind != "base" or record.made is None:
            raise NotFoundError(f"{id[:12]} is a {record.kind}, no base.", repair="Give a folder, or the record of a base.")
        return cls(store, json.loads(store.read(record.made))["files"])

    @property
    def settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give the options of the codec that reads as the base does, and those of the family that goes on with it.

        Raises SpecError when its tokenizer and its net do not belong together.
        """
        tokenizer = self._store.read(self._files["tokenizer.json"]).decode()
        answers, vocab = check_config(self.config), self.config.get("vocab_size")
        if not isinstance(vocab, int):
            raise SpecError("The base's config.json names no vocab_size.", repair="Take a base for text alone.")
        if (highest := highest_id(tokenizer)) >= vocab:
            raise SpecError(
                f"The base's tokenizer has an id {highest}, its net knows {vocab} ids.", repair="Take tokenizer and weights from one base."
            )
        chat = self._chat(tokenizer)
        exchanged, end = with_end_first(tokenizer, chat.end)
        opens = chat.opens()
        reading = {
            "kind": "pretrained-text",
            "tokenizer": exchanged,
            "vocab": vocab,
            "end": chat.end,
            "start": chat.start if opens else "",
            "template": self._template(),
            "answers": answers,
            "context": self._context(),
        }
        start = self._start(tokenizer, chat if opens else None, answers=answers)
        return reading, {"config": self.config, "answers": answers, "start": end if start is None else start, "end": end}

    def tensors(self) -> dict[str, Tensor]:
        """Give all weights by their names in the files. Raises DamageError for a file that has changed."""
        tensors: dict[str, Tensor] = {}
        for name in sorted(name for name in self._files if name.endswith(".safetensors")):
            payload = self._store.read(self._files[name])
            tensors |= _tensors(payload)
        return tensors

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._json("config.json")

    def _json(self, name: str) -> dict[str, Any]:
        return _json(self._store, self._files[name], name) if name in self._files else {}

    def _template(self) -> str:
        """Give the chat template, empty where there is none; of several the one called default."""
        if "chat_template.jinja" in self._files:
            return self._store.read(self._files["chat_template.jinja"]).decode()
        found = self._json("tokenizer_config.json").get("chat_template") or ""
        if isinstance(found, list):
            found = next((each["template"] for each in found if each.get("name") == "default"), "")
        return str(found)

    def _chat(self, tokenizer: str) -> ChatTemplate:
        """Give the template with the marks that start and end what the model writes: behind an answer, the first mark that stands there."""
        template, eos = self._template(), self._mark("eos_token", tokenizer)
        chat = ChatTemplate(template, start=self._mark("bos_token", tokenizer), end=eos)
        if template:
            behind = chat.behind_answer()
            marks = [token["content"] for token in json.loads(tokenizer)["added_tokens"]]
            standing = sorted((behind.index(mark), -len(mark), mark) for mark in marks if mark in behind)
            chat.end = standing[0][2] if standing else eos
        if not chat.end:
            raise SpecError("The base does not say which token ends a text.", repair="Give eos_token in its tokenizer_config.json.")
        return chat

    def _mark(self, name: str, tokenizer: str) -> str:
        """Give a mark of the tokenizer, by its own settings or by the net's; empty where there is none."""
        for file in ("tokenizer_config.json", "special_tokens_map.json"):
            said = self._json(file).get(name)
            if said:
                return str(said["content"] if isinstance(said, dict) else said)
        id = self._id(f"{name}_id")
        return (token_of(tokenizer, id) or "") if id is not None else ""

    def _id(self, name: str) -> int | None:
        """Give an id of the net's configuration, of several the first."""
        said = self.config.get(name)
        said = said[0] if isinstance(said, list) and said else said
        return said if isinstance(said, int) and 0 <= said < self.config.get("vocab_size", 0) else None

    def _start(self, tokenizer: str, opening: ChatTemplate | None, *, answers: bool) -> int | None:
        """Give the id that stands before a passage; None: the end mark, since the base has no other."""
        if answers:
            start = self._id("decoder_start_token_id")
            return self._id("bos_token_id") if start is None else start
        written = id_of(tokenizer, opening.start) if opening else opens_with(tokenizer)
        return self._id("bos_token_id") if written is None else written

    def _context(self) -> int | None:
        names = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
        return next((self.config[name] for name in names if isinstance(self.config.get(name), int)), None)


def going_on(store: Store, id: str, dials: Dials, made: Mapping[str, Any], *, beside: str | None) -> tuple[Dials, dict[str, Any]]:
    """Give the dials and the codec's options for a run that goes on from a base. Raises SpecError for what does not go with one."""
    if beside is not None or dials.family not in (None, "pretrained"):
        what = "--through" if beside is not None else f"--family {dials.family}"
        raise SpecError(f"{what} does not go with a base, which is a model of its own.", repair=f"Leave out {what}, or --base.")
    reading, model = BaseFiles.open(store, id).settings
    changes = {f"family.{name}": value for name, value in model.items()}
    return dials.changed(family="pretrained", changes={**changes, **dials.changes}), {**reading, **made}


def _tensors(payload: bytes) -> dict[str, Tensor]:
    return dict(TensorFile(lambda start, length: payload[start : start + length], len(payload)))


def _files(folder: Path) -> list[str]:
    """Name the files of a base that are kept. Raises DataError when one is missing."""
    for name in NEEDED:
        if not (folder / name).is_file():
            what = "its tokenizer" if name == "tokenizer.json" else "what kind of model it is"
            repair = (
                f"Load its tokenizer with transformers and save it to {folder}." if name == "tokenizer.json" else "Get all of its files."
            )
            raise DataError(f"The base {folder} has no {name}, that says {what}.", repair=repair)
    return [*NEEDED, *(name for name in USEFUL if (folder / name).is_file()), *_weights(folder)]


def _weights(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if not (folder / INDEX).is_file():
        other = next(
            (path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.gguf") for path in folder.glob(pattern)), None
        )
        problem = f"only {other}, a format that is not read" if other else "no weights"
        raise DataError(
            f"The base {folder} has {problem}; they must be safetensors.",
            repair=f'Where you trust it, convert it there: python -c "{CONVERT}".' if other else "Get its model.safetensors.",
        )
    try:
        shards = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{folder / INDEX} cannot be read.", repair="Get it again.") from None
    for shard in shards:
        if Path(shard).name != shard or not shard.endswith(".safetensors") or not (folder / shard).is_file():
            raise DataError(f"The base {folder} lacks its part {shard!r}.", repair="Get all of its files.")
    return [INDEX, *shards]


def _from_hub(name: str) -> tuple[Path, str]:
    """Give the folder in the local cache of the hub that holds a base, downloaded if it can be, and what it is a copy of."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise NotFoundError(f"There is no folder {name}.", repair="Give the folder of a base, or its name on the Hugging Face hub.")
    wanted = [*NEEDED, *USEFUL, WEIGHTS, INDEX, "model-*.safetensors"]
    for local in (True, False):
        try:
            folder = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=local))
        except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, HFValidationError, OSError):
            continue
        return folder, f"hub:{name}@{folder.name}"
    short = name.rpartition("/")[2]
    raise NotFoundError(
        f"There is no folder {name}, and the base {name} is neither in the local cache of the hub nor can it be got from the network.",
        repair=f"Where there is a network run `hf download {name} --local-dir {short}`, copy that folder here and give its path.",
    )


def _licence(folder: Path) -> str | None:
    """Give the licence that the model's card names."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    found = re.search(r"^licen[sc]e:\s*['\"]?([^'\"\n]+)", front[1], re.MULTILINE) if front else None
    return found[1].strip() if found else None


def _json(store: Store, digest: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(store.read(digest))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"The base's {name} is not JSON.", repair="Get its files again.")
    return found
