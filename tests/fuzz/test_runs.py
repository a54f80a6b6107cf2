"""Whatever a run folder's files hold, opening and using it ends well or in a RunError, quickly."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgif.engine import (
    Clip,
    ConfigError,
    RunError,
    TrainConfig,
    load_run,
    make_report,
    preset_config,
    train,
    verify_run,
)
from sgif.engine.storage import MAX_HEADER_BYTES, read_tensors, sha256_of

from .mutations import CHANGES, Change, changed, drawn

NUMBERS = st.integers(-2**70, 2**70) | st.floats() | st.sampled_from([0, 1, -1, 10**9, 2**31, 2**63, 10**400, 8193])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(["../../x", "cuda:99", "\x1b[31m"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                                          max_size=3), max_leaves=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one scale."""
    frames = torch.arange(2 * 8 * 9 * 3).remainder(256).to(torch.uint8).reshape(2, 8, 9, 3)
    config = preset_config("draft", iterations=1, width=2, max_width=2, fuse=False, threads=1, device="cpu",
                           frames_per_step=(2, 2))
    path = tmp_path_factory.mktemp("fuzz") / "run"
    return train(Clip(frames=frames, frame_ms=(40, 50), source="made"), path, config).path


def use(path: Path) -> None:
    """All that a run is good for."""
    with suppress(RunError, ConfigError, OSError):
        run = load_run(path)
        json.dumps(run.describe())
        run.reconstruct(device="cpu")
        run.sample(size=(8, 8), frames=1, device="cpu")
        make_report([path], path.with_suffix(".html"), device="cpu")


def paths_in(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths_in(value[key], (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = value.copy()
    copy[at[0]] = replaced(copy[at[0]], at[1:], new)
    return copy


@pytest.mark.parametrize("name", ["config.json", "scale_00/scale.json"])
@drawn(50)
@given(data=st.data())
def test_records_with_other_values(folder: Path, name: str, data: st.DataObject) -> None:
    whole = (folder / name).read_bytes()
    record = json.loads(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        record = replaced(record, data.draw(st.sampled_from(list(paths_in(record)))), data.draw(VALUES))
    try:
        (folder / name).write_text(json.dumps(record))
        use(folder)
    finally:
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["config.json", "scale_00/scale.json", "clip.safetensors", "z_fixed.safetensors",
                                  "scale_00/generator.safetensors", "scale_00/image_critic.safetensors"])
@drawn(15)
@given(changes=CHANGES, rehashed=st.booleans())
def test_files_of_other_bytes(folder: Path, name: str, changes: list[Change], rehashed: bool) -> None:
    """With a hash that fits, as a stranger gives it, or without."""
    path = folder / name
    record = path.parent / ("config.json" if path.parent == folder else "scale.json")
    kept = {file: file.read_bytes() for file in (path, record)}
    try:
        path.write_bytes(changed(kept[path], changes))
        if rehashed and path != record:
            values = json.loads(kept[record])
            values["sha256"][path.name] = sha256_of(path)
            record.write_text(json.dumps(values))
        use(folder)
        with suppress(RunError, ConfigError):
            assert all(isinstance(check.found, str) for check in verify_run(folder, device="cpu"))
    finally:
        for file, content in kept.items():
            file.write_bytes(content)


SIZES = st.integers(0, 20) | st.sampled_from([2**31, 2**62, 2**63 - 1, 2**64, -1])
ENTRIES = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "U8", "I64", "BOOL", "BF16", "F8_E5M2", "F4", "C64", "", "pickle"]),
    "shape": st.lists(SIZES, max_size=4), "data_offsets": st.tuples(SIZES, SIZES)})


@drawn(50)
@given(header=st.dictionaries(st.sampled_from(["a", "../b", "", "__metadata__", "\0", "c" * 99]), ENTRIES | VALUES,
                              max_size=4), size=st.sampled_from([0, 8, 80]),
       claimed=st.none() | st.sampled_from([0, 1, MAX_HEADER_BYTES, 2**40, 2**64 - 1]))
def test_headers_of_chance(header: dict[str, Any], size: int, claimed: int | None,
                           tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if claimed is None else claimed) + text + bytes(size))
    with suppress(RunError):
        tensors, _ = read_tensors(path)
        assert sum(tensor.numel() for tensor in tensors.values()) <= 8 * size


@drawn(50)
@given(values=st.dictionaries(st.sampled_from([*preset_config("draft").to_json(), "__init__", ""]), VALUES, max_size=4))
def test_settings_of_chance(values: dict[str, Any]) -> None:
    with suppress(ConfigError):
        config = TrainConfig.from_json(values)
        assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


LINKS: dict[str, Callable[[Path], object]] = {
    "a scale that is a link to itself": lambda scale: scale.symlink_to(scale),
    "a scale that is the run": lambda scale: scale.symlink_to(scale.parent),
    "a scale that is a file": lambda scale: scale.write_text("x"),
}


@pytest.mark.parametrize("name", LINKS)
def test_folders_in_circles(folder: Path, name: str, tmp_path: Path) -> None:
    run = load_run(shutil.copytree(folder, tmp_path / "run"))
    shutil.rmtree(run.scale_dir(0))
    LINKS[name](run.scale_dir(0))
    with pytest.raises(RunError):
        load_run(run.path).sample()
