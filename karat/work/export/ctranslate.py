"""A folder that CTranslate2 runs, the fastest way to write on CPUs (Klein et al. 2020; opennmt.net/CTranslate2)."""

from pathlib import Path
from typing import Any

import numpy as np

from karat.values.codecs.text import END
from karat.work.export.language import EPSILON, THETA, LanguageModel, Precision, exporters, write_tokenizer


class CTranslate2:
    """The `ctranslate2` format; int8 keeps matrices as whole numbers with a scale for each row."""

    precisions: tuple[Precision, ...] = ("float32", "int8")

    def write(self, language: LanguageModel, folder: Path, precision: Precision) -> None:
        """Write the model, its vocabulary, and the tokenizer beside it."""
        spec = _spec(language)
        spec.register_vocabulary(language.tokens)
        spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = END
        spec.config.layer_norm_epsilon = EPSILON
        spec.validate()
        spec.optimize(quantization=precision)
        spec.save(str(folder))
        write_tokenizer(language, folder)


def _spec(language: LanguageModel) -> Any:
    """Fill in CTranslate2's decoder."""
    from ctranslate2.specs import Activation, TransformerDecoderModelSpec

    spec = TransformerDecoderModelSpec.from_config(
        language.depth,
        language.heads,
        activation=Activation.SWISH,
        ffn_glu=True,
        rms_norm=True,
        qk_norm=True,
        rotary_dim=language.head_width,
        rotary_interleave=False,
        rotary_base=THETA,
        head_dim=language.head_width,
    )
    decoder, weights = spec.decoder, language.weights
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights["model.embed_tokens.weight"].numpy()
    decoder.layer_norm.gamma = weights["model.norm.weight"].numpy()
    decoder.projection.weight = weights["lm_head.weight"].numpy()
    for number, layer in enumerate(decoder.layer):
        attention, gated, named = layer.self_attention, layer.ffn, language.layer(number)
        attention.layer_norm.gamma = named("input_layernorm").numpy()
        attention.q_norm.gamma = named("self_attn.q_norm").numpy()
        attention.k_norm.gamma = named("self_attn.k_norm").numpy()
        attention.linear[0].weight = np.concatenate([named(f"self_attn.{part}_proj").numpy() for part in "qkv"])
        attention.linear[1].weight = named("self_attn.o_proj").numpy()
        gated.layer_norm.gamma = named("post_attention_layernorm").numpy()
        gated.linear_0.weight = named("mlp.gate_proj").numpy()
        gated.linear_0_noact.weight = named("mlp.up_proj").numpy()
        gated.linear_1.weight = named("mlp.down_proj").numpy()
    return spec


exporters.add("ctranslate2")(CTranslate2())
