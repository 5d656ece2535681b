"""One ONNX graph with keys and values of earlier positions, inputs and outputs named as in Hugging Face's Optimum.

    input_ids (B, N), attention_mask (B, P + N), position_ids (B, N), past_key_values.I.key and .value (B, K, P, head width)
    → logits (B, N, V), present.I.key and .value (B, K, P + N, head width)

P is how many positions were seen before, 0 at first. The graph is written node by node in plain operators of opset 18, so that it is the
same whatever torch does, and every runtime knows them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from karat.work.export.language import EPSILON, THETA, LanguageModel, Precision, exporters, write_tokenizer

FILE = "model.onnx"
OPSET = 18
LARGEST = 1_900_000_000
"""Bytes of weights beyond which they lie in a file beside the graph: a graph itself holds less than 2 GB."""
_HIDDEN = -1e9
"""Added to the score of a position that must not be seen."""


class Onnx:
    """The `onnx` format."""

    precisions: tuple[Precision, ...] = ("float32",)

    def write(self, language: LanguageModel, folder: Path, precision: Precision) -> None:
        """Write the graph, and the tokenizer beside it."""
        import onnx

        size = sum(weight.numel() * weight.element_size() for weight in language.weights.values())
        onnx.save_model(_model(language), folder / FILE, save_as_external_data=size > LARGEST, location=f"{FILE}.data")
        write_tokenizer(language, folder)


class _Graph:
    """Nodes and constants as they are put down; every value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def put(self, kind: str, *inputs: "str | np.ndarray", name: str = "", **attributes: Any) -> str:
        """Put down an operator and give the name of its output; arrays among the inputs become constants."""
        from onnx import helper

        output = name or f"{kind.lower()}_{len(self.nodes)}"
        named = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(helper.make_node(kind, named, [output], name=f"node_{output}", **attributes))
        return output

    def constant(self, value: np.ndarray, name: str = "") -> str:
        """Give the name of a constant; equal small ones are kept once."""
        from onnx import numpy_helper

        name = name or f"constant_{value.dtype}_{'x'.join(map(str, value.shape))}_{'_'.join(map(str, value.ravel()))}"
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _model(language: LanguageModel) -> Any:
    from onnx import TensorProto, helper

    graph, layers = _Graph(), range(language.depth)
    turn, hidden = _turn(graph, language.head_width), _hidden(graph)
    x = graph.put("Gather", _weight(graph, language, "model.embed_tokens.weight"), "input_ids")
    for number in layers:
        x = _block(graph, language, number, x, (*turn, hidden))
    x = _normed(graph, x, _weight(graph, language, "model.norm.weight"))
    graph.put("MatMul", x, _matrix(graph, language, "lm_head.weight"), name="logits")
    past, present = (["batch", language.heads, length, language.head_width] for length in ("past", "all"))
    parts = ("key", "value")
    inputs = [("input_ids", ["batch", "new"]), ("attention_mask", ["batch", "all"]), ("position_ids", ["batch", "new"])]
    whole, number_type = TensorProto.INT64, TensorProto.FLOAT
    made = helper.make_graph(
        graph.nodes,
        "karat",
        [helper.make_tensor_value_info(name, whole, shape) for name, shape in inputs]
        + [helper.make_tensor_value_info(f"past_key_values.{i}.{part}", number_type, past) for i in layers for part in parts],
        [helper.make_tensor_value_info("logits", number_type, ["batch", "new", language.vocab])]
        + [helper.make_tensor_value_info(f"present.{i}.{part}", number_type, present) for i in layers for part in parts],
        list(graph.constants.values()),
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="karat")


def _block(graph: _Graph, language: LanguageModel, number: int, x: str, seen: tuple[str, str, str]) -> str:
    """Put down one layer: attention, then the gated layer."""
    prefix = f"model.layers.{number}."
    h = _normed(graph, x, _weight(graph, language, f"{prefix}input_layernorm.weight"))
    x = graph.put("Add", x, _attention(graph, language, number, h, seen))
    h = _normed(graph, x, _weight(graph, language, f"{prefix}post_attention_layernorm.weight"))
    gate = graph.put("MatMul", h, _matrix(graph, language, f"{prefix}mlp.gate_proj.weight"))
    gate = graph.put("Mul", gate, graph.put("Sigmoid", gate))
    up = graph.put("MatMul", h, _matrix(graph, language, f"{prefix}mlp.up_proj.weight"))
    down = graph.put("MatMul", graph.put("Mul", gate, up), _matrix(graph, language, f"{prefix}mlp.down_proj.weight"))
    return graph.put("Add", x, down)


def _attention(graph: _Graph, language: LanguageModel, number: int, h: str, seen: tuple[str, str, str]) -> str:
    cos, sin, hidden = seen
    heads = np.array([0, 0, language.heads, language.head_width])
    prefix = f"model.layers.{number}.self_attn."

    def part(name: str, normed: bool) -> str:
        split = graph.put("Reshape", graph.put("MatMul", h, _matrix(graph, language, f"{prefix}{name}_proj.weight")), heads)
        if normed:
            split = _normed(graph, split, _weight(graph, language, f"{prefix}{name}_norm.weight"))
        split = graph.put("Transpose", split, perm=[0, 2, 1, 3])
        return _turned(graph, split, cos, sin) if normed else split

    q = graph.put("Mul", part("q", True), np.float32(language.head_width**-0.5).reshape(1))
    kv = {
        name: graph.put("Concat", f"past_key_values.{number}.{name}", new, axis=2, name=f"present.{number}.{name}")
        for name, new in (("key", part("k", True)), ("value", part("v", False)))
    }
    scores = graph.put("MatMul", q, graph.put("Transpose", kv["key"], perm=[0, 1, 3, 2]))
    chances = graph.put("Softmax", graph.put("Add", scores, hidden), axis=-1)
    mixed = graph.put("Transpose", graph.put("MatMul", chances, kv["value"]), perm=[0, 2, 1, 3])
    joined = graph.put("Reshape", mixed, np.array([0, 0, language.width]))
    return graph.put("MatMul", joined, _matrix(graph, language, f"{prefix}o_proj.weight"))


def _turn(graph: _Graph, head_width: int) -> tuple[str, str]:
    """Put down the cosines and sines (B, 1, N, head width / 2) of the positions."""
    rates = THETA ** (-np.arange(head_width // 2, dtype=np.float32) / (head_width // 2))
    positions = graph.put("Cast", graph.put("Unsqueeze", "position_ids", np.array([1, 3])), to=1)
    angles = graph.put("Mul", positions, graph.constant(rates.astype(np.float32), "rates"))
    return graph.put("Cos", angles), graph.put("Sin", angles)


def _turned(graph: _Graph, x: str, cos: str, sin: str) -> str:
    """Put down the turn of each pair (i, i + half) of channels by its angle."""
    from onnx import helper

    first, second = (f"{x}_{half}" for half in ("first", "second"))
    graph.nodes.append(helper.make_node("Split", [x], [first, second], axis=-1, num_outputs=2))
    real = graph.put("Sub", graph.put("Mul", first, cos), graph.put("Mul", second, sin))
    imaginary = graph.put("Add", graph.put("Mul", second, cos), graph.put("Mul", first, sin))
    return graph.put("Concat", real, imaginary, axis=-1)


def _hidden(graph: _Graph) -> str:
    """Put down what is added to the scores (B, 1, N, P + N): nothing where a position may be seen, else much below any score."""
    zero, one = np.array(0), np.array(1)
    total = graph.put("Gather", graph.put("Shape", "attention_mask"), one)
    new = graph.put("Gather", graph.put("Shape", "input_ids"), one)
    keys = graph.put("Range", zero, total, one)
    queries = graph.put("Range", graph.put("Sub", total, new), total, one)
    earlier = graph.put("LessOrEqual", keys, graph.put("Unsqueeze", queries, np.array([1])))
    there = graph.put("Unsqueeze", graph.put("Cast", "attention_mask", to=9), np.array([1, 2]))
    return graph.put("Where", graph.put("And", earlier, there), np.float32(0).reshape(1), np.float32(_HIDDEN).reshape(1))


def _normed(graph: _Graph, x: str, weight: str) -> str:
    """Put down the root-mean-square norm over the last axis."""
    square = graph.put("ReduceMean", graph.put("Mul", x, x), np.array([-1]), keepdims=1)
    root = graph.put("Sqrt", graph.put("Add", square, np.float32(EPSILON).reshape(1)))
    return graph.put("Mul", graph.put("Div", x, root), weight)


def _weight(graph: _Graph, language: LanguageModel, name: str) -> str:
    return graph.constant(language.weights[name].numpy(), name)


def _matrix(graph: _Graph, language: LanguageModel, name: str) -> str:
    """Give a linear layer's weight as (in, out)."""
    return graph.constant(language.weights[name].numpy().T, name)


exporters.add("onnx")(Onnx())
