"""Pretrained nets: the language models of transformers, built from their configuration, and what is trained on them.

An adapter is LoRA (Hu et al. 2021, arXiv 2106.09685) on all linear layers, by peft. Nothing is looked up on a network, and code that
came with a model is never run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from karat.learning.nets.rounded import Rounded
from karat.words.errors import ReleaseError, SpecError
from karat.words.specs import Spec


class Whole(Spec):
    """Train every weight."""

    kind: Literal["full"] = "full"


class Lora(Spec):
    """Train small factors beside each linear layer; they are merged into it when the run ends."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1, description="how much they count, over the rank")
    dropout: float = Field(0.0, ge=0, lt=1)
    bits: Literal[32, 8, 4] = Field(32, description="bits of each of the base's own weights in these layers while training")


Adapter = Annotated[Whole | Lora, Field(discriminator="kind")]


def check_installed() -> None:
    """Raise SpecError where the libraries for pretrained models are not installed."""
    for library in ("transformers", "peft"):
        if find_spec(library) is None:
            raise SpecError(
                f"Pretrained models need the library {library}, which is not here.", repair="`pip install 'karat[pretrained]'`."
            )


def check_config(config: Mapping[str, Any]) -> bool:
    """Say whether the model of a configuration has an encoder and a decoder.

    Raises SpecError for one that transformers does not know, or that does not write text.
    """
    check_installed()
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as WRITERS
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as ANSWERERS

    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise SpecError(
            f"The base is of the kind {kind!r}, which the installed transformers does not know.",
            repair="Install a newer transformers, or take another base; code that comes with a model is never run.",
        )
    named = (config.get("architectures") or [None])[0]
    answers = named in _names(ANSWERERS.get(kind)) and bool(config.get("is_encoder_decoder", True))
    if not answers and named not in _names(WRITERS.get(kind)):
        raise SpecError(
            f"The base is a {named or kind}, which neither writes text nor answers it.",
            repair="Take a base for text generation, such as GPT-2, Llama or Qwen, or an encoder-decoder such as T5.",
        )
    return answers


def _names(entry: Any) -> tuple[str, ...]:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)


def built(config: Mapping[str, Any], *, answers: bool) -> nn.Module:
    """Build the model of a configuration, with weights that mean nothing yet, in float32."""
    check_installed()
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if answers else AutoModelForCausalLM
    net: nn.Module = kind.from_config(_settled(config), dtype=torch.float32)
    return net


def _settled(config: Mapping[str, Any]) -> Any:
    """Give the configuration without what says where or how the base was kept."""
    from transformers import AutoConfig

    left_out = ("auto_map", "quantization_config", "dtype", "torch_dtype", "_name_or_path", "transformers_version")
    values = {name: value for name, value in config.items() if name not in left_out}
    try:
        return AutoConfig.for_model(**values)
    except (TypeError, ValueError, KeyError) as error:
        raise SpecError(f"The base's config.json cannot be used: {error}.", repair="Get the base's files again.") from None


def take_up(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a base's weights, by the names that its files give them, into a model that `built` made; LoRA's factors stay as they are.

    Raises ReleaseError when some are missing or have other shapes.
    """
    with quiet():
        loaded, said = type(net).from_pretrained(  # type: ignore[attr-defined]
            None,
            config=net.config,
            state_dict=dict(tensors),
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused below, in a sentence
            output_loading_info=True,
        )
    missing, wrong = sorted(said["missing_keys"]), sorted(str(each) for each in said["mismatched_keys"])
    if missing or wrong:
        what = f"lack {missing[0]}" if missing else f"have another shape for {wrong[0]}"
        raise ReleaseError(f"The base's weights do not fit its config.json: they {what}.", repair="Get all of the base's files again.")
    found = loaded.state_dict()
    with torch.no_grad():
        for name, tensor in _plain(net).items():
            tensor.copy_(found[name])


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars and telling what is found out here anyway."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def adapted(net: nn.Module, lora: Lora) -> nn.Module:
    """Put LoRA's factors beside every linear layer but the last; at first they change nothing."""
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    turned = any(isinstance(module, Conv1D) for module in net.modules())
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", fan_in_fan_out=turned)
    made: nn.Module = inject_adapter_in_model(config, net)
    return made


def round_down(net: nn.Module, lora: Lora) -> None:
    """Keep the weights beside LoRA's factors in as few bits as asked."""
    from peft.tuners.lora import Linear

    if lora.bits == 32:
        return
    for layer in [module for module in net.modules() if isinstance(module, Linear)]:
        plain: Any = layer.base_layer
        layer.base_layer = Rounded(plain.weight.t() if layer.fan_in_fan_out else plain.weight, plain.bias, lora.bits)


def factors(net: nn.Module) -> nn.ModuleList:
    """Give LoRA's factors alone."""
    return nn.ModuleList(module for name, module in net.named_modules() if name.endswith((".lora_A", ".lora_B")))


def kept_names(net: nn.Module) -> set[str]:
    """Name the tensors that make the model: LoRA's factors alone where there are some, else each weight once, however many names it has."""
    factors_alone = {name for name, _ in net.named_parameters() if ".lora_" in name}
    return factors_alone or set(_plain(net))


@torch.no_grad()
def merged(net: nn.Module) -> dict[str, Tensor]:
    """Give the weights with LoRA's factors added to them, by the names that the model has without factors."""
    from peft.tuners.lora import Linear

    found = {name: tensor.clone() for name, tensor in _plain(net).items()}
    for name, layer in net.named_modules():
        if isinstance(layer, Linear):
            rounded = layer.base_layer
            if isinstance(rounded, Rounded):
                found[f"{name}.weight"] = rounded.weight.t() if layer.fan_in_fan_out else rounded.weight
                found |= {} if rounded.bias is None else {f"{name}.bias": rounded.bias.clone()}
            found[f"{name}.weight"] = found[f"{name}.weight"] + layer.get_delta_weight("default")
    return found


def _plain(net: nn.Module) -> dict[str, Tensor]:
    """Give the tensors that a model has without LoRA, each once, by the names that it has without."""
    kept = net.state_dict(keep_vars=True)
    tensors = [*net.named_parameters(), *net.named_buffers()]
    return {name.replace(".base_layer.", "."): tensor for name, tensor in tensors if name in kept and ".lora_" not in name}
