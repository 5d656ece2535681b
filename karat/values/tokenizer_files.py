"""Tokenizers that came with a pretrained model, with its end mark made id 0, as rows of ids in Karat want it.

The end mark and whatever had id 0 change places; every other id stays. The model's side of the exchange is one table in its family.
"""

import json
from typing import Any

from karat.words.errors import SpecError

SENTENCES = ("Hello, world!  It's 3 o'clock.\n\nYes", " 我喜欢的颜色是蓝色。", "def f(x):\n\treturn x*2  # é ß 😀")
"""What the exchanged tokenizer must read exactly as the one that came."""


def with_end_first(tokenizer: str, end: str) -> tuple[str, int]:
    """Give a tokenizer's JSON in which the token `end` has id 0, and the id that it had.

    Raises SpecError when the JSON is no tokenizer, lacks the token, or is of a kind whose ids cannot be exchanged.
    """
    from tokenizers import Tokenizer

    given = _opened(tokenizer)
    was = given.token_to_id(end)
    if was is None:
        raise SpecError(f"The base's tokenizer knows no token {end!r}, its end mark.", repair="Correct eos_token in tokenizer_config.json.")
    parts = json.loads(tokenizer)
    exchange = {0: was, was: 0}
    parts["post_processor"], parts["truncation"], parts["padding"] = None, None, None
    vocab = parts["model"].get("vocab")
    if isinstance(vocab, dict):
        vocab |= {token["content"]: token["id"] for token in parts["added_tokens"]}
        parts["model"]["vocab"] = {word: exchange.get(id, id) for word, id in vocab.items()}
    elif isinstance(vocab, list) and was < len(vocab):
        vocab[0], vocab[was] = vocab[was], vocab[0]
        unknown = parts["model"].get("unk_id")
        parts["model"]["unk_id"] = exchange.get(unknown, unknown)
    for token in parts["added_tokens"]:
        token["id"] = exchange.get(token["id"], token["id"])
    parts["added_tokens"].sort(key=lambda token: token["id"])
    exchanged = json.dumps(parts, ensure_ascii=False)
    made = Tokenizer.from_str(exchanged)
    for sentence in SENTENCES:
        ids = given.encode(sentence, add_special_tokens=False).ids
        if made.encode(sentence, add_special_tokens=False).ids != [exchange.get(id, id) for id in ids]:
            kind = parts["model"].get("type")
            raise SpecError(f"The ids of a tokenizer of kind {kind} cannot be exchanged.", repair="Use a base with another tokenizer.")
    return exchanged, was


def opens_with(tokenizer: str) -> int | None:
    """Give the id that a tokenizer writes before every text by itself, if any."""
    ids: list[int] = _opened(tokenizer).encode("a").ids
    bare: list[int] = _opened(tokenizer).encode("a", add_special_tokens=False).ids
    return ids[0] if ids[:1] != bare[:1] else None


def highest_id(tokenizer: str) -> int:
    return max(_opened(tokenizer).get_vocab().values())


def id_of(tokenizer: str, token: str) -> int | None:
    found: int | None = _opened(tokenizer).token_to_id(token)
    return found


def token_of(tokenizer: str, id: int) -> str | None:
    found: str | None = _opened(tokenizer).id_to_token(id)
    return found


def _opened(tokenizer: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(tokenizer)
    except Exception as error:  # the library raises nothing narrower
        raise SpecError(f"tokenizer.json cannot be read: {error}.", repair="Get the base's files again.") from None
