"""One GGUF file, as llama.cpp and what is built on it run: the architecture qwen3 with the tokenizer inside.

Byte-level BPE is llama.cpp's "gpt2" with GPT-2's way of parting words. A tokenizer of characters is its "llama": every character is a
token of equal score, no two of them join, and the rest falls back to bytes. That form writes a space as "▁".
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from karat.values.codecs.text import ROLE_IDS, SPECIALS
from karat.words.errors import SpecError
from karat.work.export.language import CHAT, EPSILON, THETA, LanguageModel, Precision, exporters

FILE = "model.gguf"
_SPACE = "▁"
_NEVER = "ÿ ÿ"
"""Joins two bytes of 255, which are in no text: llama.cpp does not load a vocabulary in which nothing joins."""


class Gguf:
    """The `gguf` format; int8 is its Q8_0, and float16 for matrices whose rows are no whole blocks of 32."""

    precisions: tuple[Precision, ...] = ("float32", "bfloat16", "int8")

    def write(self, language: LanguageModel, folder: Path, precision: Precision) -> None:
        """Write the file."""
        import gguf

        writer = gguf.GGUFWriter(folder / FILE, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN3])
        _describe(writer, language)
        _write_vocabulary(writer, language)
        types, files = gguf.GGMLQuantizationType, gguf.LlamaFileType
        kind, stands_for = {
            "float32": (types.F32, files.ALL_F32),
            "bfloat16": (types.BF16, files.MOSTLY_BF16),
            "int8": (types.Q8_0, files.MOSTLY_Q8_0),
        }[precision]
        writer.add_file_type(stands_for)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, language.depth)
        for name, weight in language.weights.items():
            numbers = weight.numpy()
            blocks = numbers.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
            own = types.F32 if numbers.ndim == 1 else kind if blocks else types.F16
            written = gguf.quants.quantize(numbers, own)
            writer.add_tensor(str(names.get_name(name, try_suffixes=(".weight",))), written, raw_dtype=own)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _describe(writer: Any, language: LanguageModel) -> None:
    writer.add_context_length(language.context)
    writer.add_embedding_length(language.width)
    writer.add_block_count(language.depth)
    writer.add_feed_forward_length(language.hidden)
    writer.add_head_count(language.heads)
    writer.add_head_count_kv(language.heads)
    writer.add_key_length(language.head_width)
    writer.add_value_length(language.head_width)
    writer.add_rope_freq_base(THETA)
    writer.add_layer_norm_rms_eps(EPSILON)


def _write_vocabulary(writer: Any, language: LanguageModel) -> None:
    import gguf

    kinds, marks = gguf.TokenType, len(SPECIALS)
    characters = language.codec.options.units == "characters"
    rest = [kinds.BYTE if characters and len(token) > 1 else kinds.NORMAL for token in language.tokens[marks:]]
    writer.add_token_types([kinds.CONTROL] * marks + rest)
    if characters:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(_spaced(language.tokens))
        writer.add_token_scores(np.zeros(language.vocab, np.float32).tolist())
        writer.add_add_space_prefix(False)
    else:
        pairs = json.loads(language.codec.options.tokenizer)["model"]["merges"]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(language.tokens)
        writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in pairs] or [_NEVER])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    if language.converses:
        writer.add_eot_token_id(ROLE_IDS["user"])
        writer.add_chat_template(CHAT)


def _spaced(tokens: list[str]) -> list[str]:
    """Write the space as this form does. Raises SpecError where that sign is a character of its own."""
    if _SPACE in tokens:
        raise SpecError(
            f"The vocabulary holds the character {_SPACE!r}, which GGUF reads as a space.",
            repair="Export to hf, ctranslate2 or onnx, or train with --set made.units=bpe.",
        )
    return [_SPACE if token == " " else token for token in tokens]


exporters.add("gguf")(Gguf())
