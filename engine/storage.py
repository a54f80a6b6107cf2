"""Files that are whole or not there: JSON and safetensors, written beside their place and renamed into it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn


class RunError(ValueError):
    """A run folder that cannot be used; the message says why and what to do."""


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` at once: after a power cut the old file or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


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
    """The JSON value in `path`. Raises RunError when it is missing or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run folder is incomplete") from None
    except (ValueError, RecursionError):
        raise RunError(f"{path} is not valid JSON: the run folder is damaged") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **metadata: Any) -> None:
    """Write named tensors and JSON values as one safetensors file, whole or not at all."""
    data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(data, {name: json.dumps(value) for name, value in metadata.items()}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and values in a safetensors file. Raises RunError when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run folder is incomplete") from None
    except (SafetensorError, ValueError):
        raise RunError(f"{path} is not a valid safetensors file: the run folder is damaged") from None


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill `module` from a safetensors file of exactly its tensors. Raises RunError otherwise."""
    fill_module(module, read_tensors(path)[0], path)


def fill_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy `tensors` into `module`. Raises RunError that names what is missing, extra or of another shape."""
    own = module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own:
            raise RunError(f"{path}: tensor {name} is {'missing' if name in own else 'not expected'}")
        if tensors[name].shape != own[name].shape or tensors[name].dtype != own[name].dtype:
            raise RunError(f"{path}: tensor {name} is {tensors[name].dtype} {tuple(tensors[name].shape)}, expected "
                           f"{own[name].dtype} {tuple(own[name].shape)}")
    module.load_state_dict(dict(tensors))
