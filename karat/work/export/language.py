"""A language model as other programs know it: Qwen3's shape and names (Yang et al. 2025, arXiv 2505.09388) for the weights of a release.

Karat's causal transformer is that shape already, so an export is a renaming: RMSNorm, rotary positions in halves, QK-norm, SwiGLU, no
biases, a head of its own. Its start is the embedding of id 0, which is therefore both the first and the last id of a text.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from karat.learning.families.autoregressive import Autoregressive
from karat.learning.nets.matrices import Precision as Precision  # part of what exporters are asked
from karat.learning.nets.parts import Attention
from karat.values.codecs.text import END, ROLE_IDS, SPECIALS, TextCodec
from karat.words.errors import SpecError
from karat.words.registry import Registry
from karat.work.generation import Ready

EPSILON = torch.finfo(torch.float32).eps
"""What `rms_norm` adds to the mean square."""
THETA = 10_000.0
"""The base of the rotary positions' rates."""
ENDS = [0, *ROLE_IDS.values()]
"""The ids that end what the assistant says: the end of the passage, or whose turn is next."""

_OUTSIDE = {"enter": "model.embed_tokens", "norm": "model.norm", "leave": "lm_head"}
_INSIDE = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "norm_1": "input_layernorm",
    "norm_2": "post_attention_layernorm",
    "layer.gate": "mlp.gate_proj",
    "layer.up": "mlp.up_proj",
    "layer.down": "mlp.down_proj",
}


class Exporter(Protocol):
    """Writes a language model into an empty folder, in one format. Raises SpecError for what the format cannot hold."""

    precisions: tuple[Precision, ...]
    """How its numbers may be kept; the first is the usual way."""

    def write(self, language: "LanguageModel", folder: Path, precision: Precision) -> None: ...


exporters: Registry[Exporter] = Registry("format")


@dataclass(frozen=True)
class LanguageModel:
    """What every format needs to know: float32 weights under Qwen3's names, sizes, and the codec."""

    weights: dict[str, Tensor]
    codec: TextCodec
    depth: int
    heads: int

    @classmethod
    def of(cls, ready: Ready) -> "LanguageModel":
        """Read a release. Raises SpecError, with the reason, for one that is no language model of this shape."""
        family = ready.model.family
        if not isinstance(family, Autoregressive):
            raise _refusal(f"This release is of the family {family.kind}, and only the family autoregressive has a shape that others know")
        if not isinstance(ready.made, TextCodec):
            raise _refusal(f"This release makes {ready.made.kind}s, and other programs know the form of language models only")
        if ready.given:
            raise _refusal(f"This release writes under what is given ({', '.join(ready.given)}), which has no place in other programs")
        net: Any = family.net
        names = {own: _known_as(own) for own, _ in net.named_parameters()}
        weights = {names[own]: parameter.detach().float().cpu() for own, parameter in net.named_parameters()}
        attention = cast(Attention, net.blocks[0].attention)
        return cls(weights, ready.made, depth=len(net.blocks), heads=attention.heads)

    @property
    def vocab(self) -> int:
        return len(self.weights["lm_head.weight"])

    @property
    def width(self) -> int:
        return self.weights["lm_head.weight"].shape[1]

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        return len(self.weights["model.layers.0.mlp.gate_proj.weight"])

    @property
    def context(self) -> int:
        """The most ids that a text may have."""
        return self.codec.length

    @property
    def tokens(self) -> list[str]:
        """The name of each id."""
        return [str(self.codec.tokenizer.id_to_token(id)) for id in range(self.vocab)]

    @property
    def converses(self) -> bool:
        """Whether it learnt conversations, which are packed whole."""
        return self.codec.options.packing == "whole"

    @property
    def ends(self) -> list[int]:
        return ENDS if self.converses else ENDS[:1]


def write_tokenizer(language: LanguageModel, folder: Path) -> None:
    """Write the tokenizer in Hugging Face's form: it composes characters (NFC), puts the start before a text, and knows turns.

    Unlike Karat's own, it takes "<user>" inside a text for the mark of a turn: chat templates need that.
    """
    from tokenizers import Tokenizer, normalizers, processors

    tokenizer = Tokenizer.from_str(language.codec.options.tokenizer)
    tokenizer.normalizer = normalizers.NFC()
    after = None if tokenizer.post_processor is None else [tokenizer.post_processor]
    start = processors.TemplateProcessing(single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, 0)])
    tokenizer.post_processor = start if after is None else processors.Sequence([*after, start])
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": list(SPECIALS[1:]),
        "model_max_length": language.context,
        "clean_up_tokenization_spaces": False,
    }
    if language.converses:
        said["chat_template"] = CHAT
    write_json(folder / "tokenizer_config.json", said)


CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('The roles are system, user and assistant.') }}{% endif %}"
    "{{ '<' + message['role'] + '>' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
"""The template by which programs write a conversation as the model learnt it: marks and words, nothing between them."""


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _known_as(own: str) -> str:
    """Give Qwen3's name of a parameter."""
    place, _, _ = own.rpartition(".")
    if place in _OUTSIDE:
        return f"{_OUTSIDE[place]}.weight"
    _, _, rest = place.partition(".")
    number, _, inside = rest.partition(".")
    if inside in _INSIDE:
        return f"model.layers.{number}.{_INSIDE[inside]}.weight"
    raise _refusal(f"The net has a weight that Qwen3's shape has not ({own})")


def _refusal(reason: str) -> SpecError:
    return SpecError(f"{reason}.", repair="Export a release that was trained on text with --family autoregressive and nothing given.")
