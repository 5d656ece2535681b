"""Tiny pretrained models for tests, made in the layout of the hub: GPT-2, Llama, Qwen3 and T5, each with its own kind of tokenizer."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from karat.values.tokenizer_files import with_end_first

TEXTS = ["The sky is blue and the grass is green.", "My favourite fruit is the apple.", "What do you like? I like red.", "1 2 3\n\nyes no"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content | trim }} [/INST]"
    "{% elif message.role == 'assistant' %} {{ message.content | trim }} {{ eos_token }}{% else %}{{ raise_exception('no system') }}"
    "{% endif %}{% endfor %}"
)
KINDS = ("gpt2", "llama", "qwen3", "t5")


def make_base(folder: Path, kind: str) -> Path:
    """Write a base of some kind with random weights, and give its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, settings = {"gpt2": _gpt2, "llama": _llama, "qwen3": _qwen3, "t5": _t5}[kind]()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\n# A tiny {kind}\n")
    net = _net(kind, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.save_pretrained(folder, max_shard_size="60KB" if kind == "llama" else "1GB")
    return folder


def reading() -> dict[str, Any]:
    """Give the options of a codec that reads as the tiny GPT-2 does."""
    tokenizer, _ = _gpt2()
    exchanged, _ = with_end_first(tokenizer.to_str(), "<|endoftext|>")
    return {"tokenizer": exchanged, "vocab": 512, "end": "<|endoftext|>"}


def _net(kind: str, tokenizer: Any) -> Any:
    import transformers as t

    vocab = 512
    marks = {name: tokenizer.token_to_id(token) for name, token in MARKS[kind].items()}
    common = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 128}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gpt2":
            return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=128, **marks))
        if kind == "llama":
            return t.LlamaForCausalLM(t.LlamaConfig(vocab_size=vocab, **common, **marks))
        if kind == "qwen3":
            extra = {"num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": True}
            return t.Qwen3ForCausalLM(t.Qwen3Config(vocab_size=vocab, **common, **extra, **marks))
        return t.T5ForConditionalGeneration(t.T5Config(vocab_size=vocab, d_model=32, d_ff=48, d_kv=16, num_layers=2, num_heads=2, **marks))


MARKS = {
    "gpt2": {"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>"},
    "llama": {"bos_token_id": "<s>", "eos_token_id": "</s>"},
    "qwen3": {"bos_token_id": "<|endoftext|>", "eos_token_id": "<|im_end|>"},
    "t5": {"eos_token_id": "</s>", "pad_token_id": "<pad>", "decoder_start_token_id": "<pad>"},
}


def _gpt2() -> tuple[Any, dict[str, Any]]:
    tokenizer = _bytes()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer, {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}


def _qwen3() -> tuple[Any, dict[str, Any]]:
    tokenizer = _bytes()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    end = {"__type": "AddedToken", "content": "<|endoftext|>", "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return tokenizer, {"eos_token": end, "chat_template": CHATML}


def _bytes() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def _llama() -> tuple[Any, dict[str, Any]]:
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    marks = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=marks, show_progress=False)
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in TEXTS], trainer)
    parts = json.loads(tokenizer.to_str())
    parts["added_tokens"] = parts["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "chat_template": LLAMA}


def _t5() -> tuple[Any, dict[str, Any]]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted({character for text in TEXTS for character in text.replace(" ", "▁")} | {"▁"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -3.0) for letter in letters), ("▁the", -2.0), ("▁is", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, 2, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return tokenizer, {"eos_token": "</s>", "pad_token": "<pad>"}
