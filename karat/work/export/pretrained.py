"""A pretrained model that was trained on, as its base was laid out: whole weights with its adapters in them, and the base's own ids.

What opens every row in training, the start mark, is written by the exported tokenizer and chat template. From that folder other programs'
own converters go on; CTranslate2's is called here.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from karat.learning.families.pretrained import Pretrained
from karat.learning.nets.pretrained import quiet
from karat.values.chat_templates import PLAIN
from karat.values.codecs.pretrained_text import PretrainedTextCodec
from karat.values.tokenizer_files import token_of, with_end_first
from karat.words.errors import SpecError
from karat.work.export.language import Precision, write_json
from karat.work.generation import Ready

FORMS = ("hf", "ctranslate2")
"""The formats that hold whatever transformers knows."""


@dataclass(frozen=True)
class PretrainedModel:
    """A release of the family pretrained."""

    family: Pretrained
    codec: PretrainedTextCodec

    @classmethod
    def of(cls, ready: Ready, to: str) -> "PretrainedModel":
        """Read a release that is to go out in a form. Raises SpecError for forms that hold Karat's own shape alone."""
        assert isinstance(ready.model.family, Pretrained)
        assert isinstance(ready.made, PretrainedTextCodec)
        if to not in FORMS:
            raise SpecError(
                f"The format {to} is written for models from scratch alone.",
                repair="Export to hf; the converters of llama.cpp and Optimum read that folder.",
            )
        return cls(ready.model.family, ready.made)

    def write(self, to: str, folder: Path, precision: Precision) -> None:
        """Write the folder. Raises SpecError for what CTranslate2 does not know."""
        if to == "hf":
            self.write_hf(folder, precision)
            return
        from ctranslate2.converters import TransformersConverter

        with TemporaryDirectory() as scratch, quiet():
            self.write_hf(Path(scratch), "float32")
            try:
                TransformersConverter(scratch).convert(str(folder), quantization=precision, force=True)
            except ValueError as error:
                raise SpecError(f"CTranslate2 does not take this base: {error}", repair="Export to hf.") from None
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (folder / name).write_bytes((Path(scratch) / name).read_bytes())

    def write_hf(self, folder: Path, precision: Precision) -> None:
        """Write weights, configuration and tokenizer as transformers loads them."""
        net: Any = copy.deepcopy(self.family.net)
        net = net.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)
        options = self.family.options
        net.generation_config.eos_token_id = net.config.eos_token_id = options.end
        if not options.answers:
            net.generation_config.bos_token_id = net.config.bos_token_id = options.start
        if net.generation_config.pad_token_id is None:
            net.generation_config.pad_token_id = options.end
        with quiet():
            net.save_pretrained(folder)
        self._write_tokenizer(folder)

    def _write_tokenizer(self, folder: Path) -> None:
        from tokenizers import Tokenizer, processors

        options, reads = self.family.options, self.codec.options
        # Exchanging the end mark with whatever has its id once more gives the base's own ids.
        held = token_of(reads.tokenizer, options.end)
        own = reads.tokenizer if held is None else with_end_first(reads.tokenizer, held)[0]
        tokenizer = Tokenizer.from_str(own)
        start = token_of(own, options.start) or reads.end
        single, mark = (f"$A {reads.end}", (reads.end, options.end)) if options.answers else (f"{start} $A", (start, options.start))
        after = None if tokenizer.post_processor is None else [tokenizer.post_processor]
        opening = processors.TemplateProcessing(single=single, special_tokens=[mark])
        tokenizer.post_processor = opening if after is None else processors.Sequence([*after, opening])
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": start, "eos_token": reads.end, "pad_token": reads.end}
        template = reads.template or ("" if options.answers else PLAIN)
        if template:
            said["chat_template"] = template if reads.start or options.answers else "{{ bos_token }}" + template
        write_json(folder / "tokenizer_config.json", {**said, "clean_up_tokenization_spaces": False})
