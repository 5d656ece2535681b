"""A folder that `transformers`, vLLM and others load: Qwen3ForCausalLM, its tokenizer with the chat template, and how to generate."""

from pathlib import Path

import torch

from karat.values.tensors import tensor_bytes
from karat.work.export.language import EPSILON, THETA, LanguageModel, Precision, exporters, write_json, write_tokenizer


class HuggingFace:
    """The `hf` format."""

    precisions: tuple[Precision, ...] = ("float32", "bfloat16")

    def write(self, language: LanguageModel, folder: Path, precision: Precision) -> None:
        """Write weights, config, tokenizer and generation config."""
        kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
        weights = {name: weight.to(kind) for name, weight in language.weights.items()}
        (folder / "model.safetensors").write_bytes(tensor_bytes(weights))
        ids = {"bos_token_id": 0, "eos_token_id": language.ends, "pad_token_id": 0}
        config = {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "dtype": precision,
            "vocab_size": language.vocab,
            "hidden_size": language.width,
            "intermediate_size": language.hidden,
            "num_hidden_layers": language.depth,
            "num_attention_heads": language.heads,
            "num_key_value_heads": language.heads,
            "head_dim": language.head_width,
            "hidden_act": "silu",
            "max_position_embeddings": language.context,
            "rms_norm_eps": EPSILON,
            "rope_theta": THETA,  # where transformers before 5 looks for it
            "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
            "attention_bias": False,
            "tie_word_embeddings": False,
            **ids,
        }
        write_json(folder / "config.json", config)
        write_json(folder / "generation_config.json", {**ids, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0})
        write_tokenizer(language, folder)


exporters.add("hf")(HuggingFace())
