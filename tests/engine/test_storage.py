"""Files that are whole or not there, and sentences about files that are neither."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sgif.engine import storage
from sgif.engine.storage import (
    RunError,
    fill_module,
    load_network,
    read_json,
    read_tensors,
    write_bytes,
    write_json,
    write_tensors,
)


def test_bytes_replace_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"first", b"", b"second"):
        write_bytes(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("operation", ["replace", "fsync", "open"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, operation: str,
                                                                  error: BaseException,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    if operation == "open":
        monkeypatch.setattr(storage, "open", fail, raising=False)
    else:
        monkeypatch.setattr(os, operation, fail)
    with pytest.raises(type(error)):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_data_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for name in ("fsync", "replace"):
        def record(*args: Any, name: str = name, function: Any = getattr(os, name), **options: Any) -> None:  # noqa: B008 (the function of this pass)
            order.append(name)
            function(*args, **options)
        monkeypatch.setattr(os, name, record)
    write_bytes(tmp_path / "file", b"data")
    assert order[:2] == ["fsync", "replace"]


def test_writing_into_a_missing_folder_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "missing" / "file", b"data")


# ---- JSON ------------------------------------------------------------------------------------------------------------


def test_json_roundtrip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "ä": {"b": "c\n"}}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == value


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"/file\.json is missing: the run folder is incomplete$"):
        read_json(tmp_path / "file.json")


@pytest.mark.parametrize("data", [b"", b'{"a": 1', b"\xff\xfe", b"{a: 1}", b"[" * 100_000],
                         ids=["empty", "cut", "not text", "not JSON", "nested"])
def test_damaged_json_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file.json").write_bytes(data)
    with pytest.raises(RunError, match=r"/file\.json is not valid JSON: the run folder is damaged"):
        read_json(tmp_path / "file.json")


# ---- tensors ---------------------------------------------------------------------------------------------------------


def test_tensors_roundtrip_with_metadata(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5, dtype=torch.uint8), "c": torch.tensor(7.0),
               "d": torch.randn(2, 5, dtype=torch.float64).T, "e": torch.randn(4, requires_grad=True).bfloat16()}
    write_tensors(tmp_path / "t.safetensors", tensors, scale=3, seconds=1.5, name="x", nothing=None)
    read, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {"scale": 3, "seconds": 1.5, "name": "x", "nothing": None}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in tensors)


def test_equal_tensors_make_equal_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(3), "a": torch.zeros(2)}
    write_tensors(tmp_path / "one", tensors)
    write_tensors(tmp_path / "two", {name: tensors[name].clone() for name in reversed(tensors)})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"/t\.safetensors is missing: the run folder is incomplete$"):
        read_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_cut_tensors_are_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": torch.randn(30)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"/t\.safetensors is not a valid safetensors file: the run folder is damaged"):
        read_tensors(path)


def test_foreign_metadata_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(storage.save({"a": torch.zeros(1)}, {"scale": "no JSON"}))
    with pytest.raises(RunError, match=r"/t\.safetensors is not a valid safetensors file"):
        read_tensors(path)


# ---- weights ---------------------------------------------------------------------------------------------------------


def weights(**changes: Any) -> dict[str, torch.Tensor]:
    tensors = {"weight": torch.full((2, 3), 2.0), "bias": torch.full((2,), 3.0), **changes}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def test_weights_fill_a_module(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w.safetensors", weights())
    module = load_network(lambda: nn.Linear(3, 2), tmp_path / "w.safetensors")
    assert torch.equal(module.weight, weights()["weight"])
    assert torch.equal(module.bias, weights()["bias"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"bias": None}, "tensor bias is missing"), ({"extra": torch.zeros(1)}, "tensor extra is not expected"),
     ({"weight": torch.zeros(3, 2)}, r"tensor weight is torch.float32 (3, 2), expected torch.float32 (2, 3)"),
     ({"bias": torch.zeros(2).half()}, r"tensor bias is torch.float16 (2,), expected torch.float32 (2,)")],
    ids=["missing", "extra", "shape", "dtype"])
def test_weights_that_do_not_fit_are_named_and_change_nothing(tmp_path: Path, changes: dict[str, Any],
                                                              sentence: str) -> None:
    module = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(RunError) as refused:
        fill_module(module, weights(**changes), tmp_path / "w.safetensors")
    assert str(refused.value) == f"{tmp_path / 'w.safetensors'}: {sentence}"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
