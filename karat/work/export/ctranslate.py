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
    # Rounding happens in place, and must not reach the model itself.
    weights = {name: weight.numpy().copy() for name, weight in language.weights.items()}
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights["model.embed_tokens.weight"]
    decoder.layer_norm.gamma = weights["model.norm.weight"]
    decoder.projection.weight = weights["lm_head.weight"]
    for number, layer in enumerate(decoder.layer):
        attention, gated, prefix = layer.self_attention, layer.ffn, f"model.layers.{number}."
        attention.layer_norm.gamma = weights[f"{prefix}input_layernorm.weight"]
        attention.q_norm.gamma = weights[f"{prefix}self_attn.q_norm.weight"]
        attention.k_norm.gamma = weights[f"{prefix}self_attn.k_norm.weight"]
        attention.linear[0].weight = np.concatenate([weights[f"{prefix}self_attn.{part}_proj.weight"] for part in "qkv"])
        attention.linear[1].weight = weights[f"{prefix}self_attn.o_proj.weight"]
        gated.layer_norm.gamma = weights[f"{prefix}post_attention_layernorm.weight"]
        gated.linear_0.weight = weights[f"{prefix}mlp.gate_proj.weight"]
        gated.linear_0_noact.weight = weights[f"{prefix}mlp.up_proj.weight"]
        gated.linear_1.weight = weights[f"{prefix}mlp.down_proj.weight"]
    return spec


exporters.add("ctranslate2")(CTranslate2())
