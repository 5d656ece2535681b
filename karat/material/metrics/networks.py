"""The user's own feature network, by path: an ONNX file (Inception, DINOv2, any other), declared size and normalisation.

ONNX because it holds only tensors and a graph of known operators. A `.pt2` file is refused: `torch.export.load` falls back to unpickling
what is inside, which runs whatever code somebody put there; so is a `.pt` file. Weights kept outside the file are refused too, for the
digest covers one file.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from karat.words.errors import DataError, SpecError
from karat.words.specs import Spec, digest_of


class NetworkOptions(Spec):
    """A feature network: its file, the side of the square it wants, and its normalisation of values in [0, 1]."""

    name: str = "own"
    path: Path
    size: int = 224
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    spread: tuple[float, ...] = (0.5, 0.5, 0.5)
    batch: int = 32
    threads: int = 1


class OwnNetwork:
    """Features from the first output of an ONNX network; more than two axes are averaged down to (N, D)."""

    def __init__(self, options: NetworkOptions) -> None:
        self.options = options
        self.name = options.name
        self._session = _session(options)
        facts = options.model_dump(mode="json", exclude={"path", "batch", "threads", "name"})
        self.digest = digest_of({"file": hashlib.sha256(options.path.read_bytes()).hexdigest(), **facts})

    def features(self, values: Tensor) -> Tensor:
        return torch.cat([self._block(block) for block in values.split(self.options.batch)])

    def _block(self, x_BHWC: Tensor) -> Tensor:
        size = (self.options.size, self.options.size)
        x_BCHW = _in_channels((x_BHWC + 1) / 2, len(self.options.mean)).movedim(-1, 1)
        x_BCHW = F.interpolate(x_BCHW, size=size, mode="bilinear", antialias=True, align_corners=False)
        x_BCHW = (x_BCHW - torch.tensor(self.options.mean)[:, None, None]) / torch.tensor(self.options.spread)[:, None, None]
        found = self._session.run(None, {self._session.get_inputs()[0].name: x_BCHW.numpy().astype(np.float32)})[0]
        features = torch.from_numpy(np.asarray(found)).float()
        if features.shape[0] != len(x_BHWC) or features.ndim < 2:
            raise DataError(
                f"The network {self.options.path} gave {tuple(features.shape)} for {len(x_BHWC)} pictures.",
                repair="Export it with a free batch axis and the features as its first output.",
            )
        return features.flatten(2).mean(2) if features.ndim > 2 else features


def _in_channels(x_BHWC: Tensor, channels: int) -> Tensor:
    """Bring pictures in [0, 1] to the channels that a network wants: alpha is laid over white, grey is repeated."""
    has = x_BHWC.shape[-1]
    if has in (2, 4):
        x_BHWC = x_BHWC[..., :-1] * x_BHWC[..., -1:] + 1 - x_BHWC[..., -1:]
    if x_BHWC.shape[-1] == channels:
        return x_BHWC
    if channels == 1:
        return x_BHWC.mean(-1, keepdim=True)
    return x_BHWC.mean(-1, keepdim=True).expand(*x_BHWC.shape[:-1], channels)


def _session(options: NetworkOptions) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise SpecError("An own feature network needs onnxruntime.", repair="Install it: pip install onnxruntime.") from None
    if options.path.suffix != ".onnx":
        raise SpecError(
            f"{options.path} is no .onnx file; other formats can run code when they are read.",
            repair="Export the network: torch.onnx.export(net, example, 'features.onnx').",
        )
    if len(options.mean) != len(options.spread):
        raise SpecError("mean and spread have different lengths.", repair="Give one number for each channel that the network wants.")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    try:
        # From bytes, so that no weights beside the file can be read: the digest would not cover them.
        return onnxruntime.InferenceSession(options.path.read_bytes(), settings, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise DataError(f"{options.path} cannot be read: {error.strerror}.", repair="Check the path.") from None
    except Exception as error:  # onnxruntime's errors share no class of their own
        problem = f"{options.path} is no ONNX network that can be run here: {error}."
        raise DataError(problem, repair="Export it again into one file.") from None
