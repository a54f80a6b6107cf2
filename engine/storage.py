"""Files that are whole or not there: JSON and safetensors, written beside their place and renamed into it.

They may come from a stranger. What is read is a regular file of plain data: sizes are looked at before anything is
loaded, hashes and the outline of tensors before a number is used, and no name in a file is ever a path.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .scratch import naming, scratch

MAX_JSON_BYTES = 1 << 24
"""Largest JSON file that is read; a record of a million frames has 10 MB, and parsing takes some 20 times that."""
MAX_JSON_DEPTH = 16
MAX_HEADER_BYTES = 1 << 20
"""Largest safetensors header that is read: 100 bytes a tensor, some 300 tensors in a saved state."""
DAMAGED = "the run folder is damaged, get it again or train anew"

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
           "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
           "BOOL": torch.bool}


Network = TypeVar("Network", bound=nn.Module)


class RunError(ValueError):
    """A run folder that cannot be used; the message says why and what to do."""


def write_bytes(path: Path, data: bytes) -> str:
    """Replace `path` by `data` at once: after a power cut the old file or the new one is there, whole. Returns the
    SHA-256 of `data` in hex. An OSError names `path`."""
    with naming(path), scratch(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    sync_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` last through a power cut, where the system can open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON value in `path`. Raises RunError when it is missing, no JSON, or larger or deeper than any of ours."""
    if (size := _file_size(path)) > MAX_JSON_BYTES:
        raise RunError(f"{path} has {size} bytes, expected at most {MAX_JSON_BYTES}: {DAMAGED}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise RunError(f"{path} is not valid JSON: {DAMAGED}") from None
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [item for outer in level if isinstance(outer, dict | list)
                 for item in (outer.values() if isinstance(outer, dict) else outer)]
    if level:
        raise RunError(f"{path} is nested more than {MAX_JSON_DEPTH} deep: {DAMAGED}")
    return value


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **metadata: Any) -> str:
    """Write named tensors and JSON values as one safetensors file, whole or not at all. Returns its SHA-256 in hex."""
    data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_bytes(path, save(data, {name: json.dumps(value) for name, value in metadata.items()}))


def read_tensors(path: Path, expected: Mapping[str, Tensor] | None = None,
                 sha256: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and values in a safetensors file.

    Args:
        expected: tensors, on the meta device or any other, whose names, shapes and dtypes the file's must have; asked
            of its header, before anything is loaded.
        sha256: of the file's bytes, in hex; not looked at where it is None.

    Raises:
        RunError: it is missing, damaged, or another than expected.
    """
    _check_header(path)
    if sha256 is not None and sha256_of(path) != sha256:
        raise RunError(f"{path} does not have the SHA-256 that the run's record gives: {DAMAGED}")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if expected is not None:
                slices = {name: file.get_slice(name) for name in names}
                _check_outline({name: (_DTYPES.get(part.get_dtype(), part.get_dtype()), tuple(part.get_shape()))
                                for name, part in slices.items()}, expected, path)
            tensors = {name: file.get_tensor(name) for name in names}
            return tensors, {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except RunError:
        raise
    except (SafetensorError, ValueError, RuntimeError):  # torch raises the last, for numbers of values beyond 2^63
        raise RunError(f"{path} is not a valid safetensors file: {DAMAGED}") from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    _file_size(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_header(path: Path) -> None:
    """Refuse a safetensors file whose header is longer than any of ours, before it is parsed."""
    if _file_size(path) >= 8:
        with open(path, "rb") as file:
            if (length := int.from_bytes(file.read(8), "little")) > MAX_HEADER_BYTES:
                raise RunError(f"{path} has a header of {length} bytes, expected at most {MAX_HEADER_BYTES}: {DAMAGED}")


def _file_size(path: Path) -> int:
    """In bytes. Raises RunError where there is none, or it is a pipe or device, which would be waited for for ever."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run folder is incomplete") from None
    if not stat.S_ISREG(status.st_mode):
        raise RunError(f"{path} is no regular file, expected one that 'sgif train' wrote: {DAMAGED}")
    return status.st_size


def load_network(make: Callable[[], Network], path: Path, sha256: str | None = None) -> Network:
    """The network that `make` makes, filled from a safetensors file of exactly its tensors. Raises RunError otherwise,
    before the network takes memory: a stranger's settings may ask for any."""
    with torch.device("meta"):
        expected = make().state_dict()
    tensors, _ = read_tensors(path, expected, sha256)
    network = make()
    fill_module(network, tensors, path)
    return network


def fill_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy `tensors`, read from `path`, into `module`. Raises RunError where they are not exactly its own."""
    check_tensors(tensors, module.state_dict(), path)
    module.load_state_dict(dict(tensors))


def check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raises RunError that names what is missing, extra, of another shape or dtype than expected, or not finite."""
    _check_outline({name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}, expected, path)
    check_finite(tensors, path)


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse NaN and infinity: one of them turns every pixel black."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise RunError(f"{path}: tensor {name} holds NaN or infinity: {DAMAGED}")


Outline = tuple[torch.dtype | str, tuple[int, ...]]  # a dtype by its name where torch has none


def _check_outline(found: Mapping[str, Outline], expected: Mapping[str, Tensor], path: Path) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if name not in found or name not in expected:
            raise RunError(f"{path}: tensor {name} is {'missing' if name in expected else 'not expected'}")
        (dtype, shape), like = found[name], expected[name]
        if shape != tuple(like.shape) or dtype != like.dtype:
            raise RunError(f"{path}: tensor {name} is {dtype} {shape}, expected {like.dtype} {tuple(like.shape)}")
