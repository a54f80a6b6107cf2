"""A run folder from a stranger is data: what is not as training would have left it is refused by name."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from sgif.engine import runs
from sgif.engine.clip import Clip
from sgif.engine.config import TrainConfig
from sgif.engine.generator import Generator
from sgif.engine.runs import Run, load_run
from sgif.engine.storage import MAX_HEADER_BYTES, MAX_JSON_BYTES, RunError, read_tensors
from sgif.engine.trainer import train

from .strangers import change, flip_last_bit, record_of, rehash, without_hashes

GENERATOR = "scale_01/generator.safetensors"
USES: dict[str, Callable[[Run], Any]] = {
    "clip.safetensors": lambda run: run.frames, "z_fixed.safetensors": lambda run: run.z_fixed,
    GENERATOR: lambda run: run.sample()}


def refusal(path: Path, use: Callable[[Run], Any] = lambda run: run.sample()) -> str:
    """The sentence with which a run, or the use of it, is refused."""
    with pytest.raises(RunError) as refused:
        use(load_run(path))
    return str(refused.value)


def set_in(*keys: str, value: Any) -> Callable[[Any], None]:
    """An edit of a record."""
    def edit(record: Any) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value
    return edit


# ---- hashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", USES)
def test_a_changed_bit_is_noticed_and_the_file_named(run_copy: Run, name: str) -> None:
    flip_last_bit(run_copy.path / name)
    assert refusal(run_copy.path, USES[name]).startswith(f"{run_copy.path / name} does not have the SHA-256 that")


@pytest.mark.parametrize("critic", ["image_critic", "video_critic"])
def test_a_changed_critic_is_noticed_when_training_goes_on_from_it(run_copy: Run, clip: Clip, critic: str) -> None:
    for scale in (2, 1):
        for file in run_copy.scale_dir(scale).iterdir():
            file.unlink()
        run_copy.scale_dir(scale).rmdir()
    path = run_copy.scale_dir(0) / f"{critic}.safetensors"
    flip_last_bit(path)
    with pytest.raises(RunError, match=f"{critic}.safetensors does not have the SHA-256"):
        train(clip, run_copy.path, run_copy.config)


def test_a_run_of_schema_1_samples_what_it_did(run: Run, run_copy: Run) -> None:
    old = load_run(without_hashes(run_copy.path))
    assert torch.equal(old.sample(), run.sample())
    assert torch.equal(old.reconstruct(), run.reconstruct())


@pytest.mark.parametrize("name", ["config.json", "scale_01/scale.json"])
@pytest.mark.parametrize("value", [None, [], "x", {}, {"../../x": "0" * 64}, {"/etc/passwd": "0" * 64}, {"a.pkl": "0"},
                                   {"generator.safetensors": "zero"}, {"generator.safetensors": "0" * 63}, {"": ""}],
                         ids=str)
def test_hashes_of_other_files_or_none_are_refused(run_copy: Run, name: str, value: Any) -> None:
    change(run_copy.path / name, set_in("sha256", value=value))
    assert refusal(run_copy.path).startswith(f"{run_copy.path / name}")


# ---- tensors ---------------------------------------------------------------------------------------------------------


def put_tensors(run: Run, name: str, data: bytes) -> None:
    """Replace a file and give the record its hash."""
    (run.path / name).write_bytes(data)
    rehash(run.path, name)


@pytest.mark.parametrize("extra", ["../../../etc/passwd", "/tmp/x", "__class__", "tail_bias.", "a" * 300])
def test_a_tensor_too_many_is_refused_by_name(run_copy: Run, extra: str) -> None:
    tensors, _ = read_tensors(run_copy.path / GENERATOR)
    put_tensors(run_copy, GENERATOR, save({**tensors, extra: torch.zeros(1)}))
    assert refusal(run_copy.path) == f"{run_copy.path / GENERATOR}: tensor {extra} is not expected"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(("name", "tensor"), [(GENERATOR, "tail_bias"), (GENERATOR, "blocks.0.running_var"),
                                              ("z_fixed.safetensors", "z_fixed")])
def test_what_is_not_finite_is_refused_by_name(run_copy: Run, name: str, tensor: str, value: float) -> None:
    tensors, _ = read_tensors(run_copy.path / name)
    tensors[tensor].view(-1)[-1] = value
    put_tensors(run_copy, name, save(tensors))
    assert refusal(run_copy.path, USES[name]).startswith(f"{run_copy.path / name}: tensor {tensor} holds NaN or inf")


def safetensors(header: dict[str, Any], data_bytes: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data_bytes)


@pytest.mark.parametrize("data", [
    safetensors({"tail_bias": {"dtype": "F32", "shape": [2**62, 0, 2**62], "data_offsets": [0, 0]}}, 0),
    safetensors({"tail_bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 2**63]}}, 12),
    safetensors({"tail_bias": {"dtype": "F32", "shape": [-3], "data_offsets": [0, 12]}}, 12),
    safetensors({"tail_bias": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}}, 3),
    safetensors({"tail_bias": {"dtype": "PICKLE", "shape": [3], "data_offsets": [0, 3]}}, 3),
    safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                 "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}, 6),
    struct.pack("<Q", MAX_HEADER_BYTES) + b"[" * MAX_HEADER_BYTES, struct.pack("<Q", 2**63) + b"{}", b"\x80\x04K\1.",
], ids=["overflow", "beyond the file", "negative", "float8", "unknown dtype", "overlap", "nested", "2^63", "pickle"])
def test_a_hostile_header_is_refused(run_copy: Run, data: bytes) -> None:
    put_tensors(run_copy, GENERATOR, data)
    assert refusal(run_copy.path).startswith(str(run_copy.path / GENERATOR))


def test_a_huge_header_is_not_even_read(run_copy: Run) -> None:
    path = run_copy.path / GENERATOR
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 90 << 20))  # the library's own limit is 100 MB
        file.truncate(91 << 20)
    rehash(run_copy.path, GENERATOR)
    assert "has a header of 94371840 bytes, expected at most 1048576" in refusal(run_copy.path)


def test_settings_of_huge_networks_take_no_memory_before_the_files_have_them(
        run_copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    change(run_copy.path / "config.json", lambda record: record["config"].update(width=1024, max_width=1024))
    devices = []

    def build(*args: Any) -> Generator:
        devices.append(torch.empty(0).device.type)
        return Generator(*args)
    monkeypatch.setattr(runs, "Generator", build)
    assert "is torch.float32 (4," in refusal(run_copy.path)
    assert devices == ["meta"]


# ---- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keys", "value", "said"), [
    (("config", "iterations"), [10**9, 10**9], "iterations is 1000000000:1000000000, expected 1 to 10000000 each"),
    (("config", "max_size_px"), 10**6, "max_size_px is 1000000, expected 8 to 8192"),
    (("config", "scale_factor"), 1 + 1e-9, "scale_factor is"),
    (("config", "lr"), float("nan"), "lr is nan"), (("config", "seed"), 10**30, "seed is 1"),
    (("config", "width"), 1e3, "width is 1000.0"), (("config", "num_3d_scales"), -2, "num_3d_scales is -2"),
    (("config", "frames_per_step"), [2, 10**9], "frames_per_step is"), (("config", "amp"), 1, "amp is 1"),
    (("config", "__class__"), "x", "unknown setting '__class__'"), (("config", "a" * 999), 1, "unknown setting 'aaa"),
    (("clip", "height"), 10**400, "clip.height is 1000"), (("clip", "width"), 0, "clip.width is 0"),
    (("clip", "frame_ms"), [80, 2**40], "clip.frame_ms is"), (("clip", "frame_ms"), [80, -1], "clip.frame_ms is"),
    (("clip", "source"), ["x"], "clip.source is"), (("schema",), 0, "has schema 0"), (("schema",), True, "no schema"),
    (("schema",), -10**30, "has schema -1000"),
], ids=lambda value: str(value)[:40])
def test_an_absurd_config_is_refused_by_name(run_copy: Run, keys: tuple[str, ...], value: Any, said: str) -> None:
    change(run_copy.path / "config.json", set_in(*keys, value=value))
    sentence = refusal(run_copy.path)
    assert sentence.startswith(str(run_copy.path / "config.json"))
    assert said in sentence


@pytest.mark.parametrize(("key", "value"), [
    ("scale", 0), ("scale", "1"), ("height", 10**9), ("kind", "4D"), ("iterations", 0), ("iterations", None),
    ("noise_amp", float("nan")), ("noise_amp", float("inf")), ("noise_amp", -1.0), ("noise_amp", 10**400),
    ("rec_psnr_db", "high"), ("seconds", -1.0), ("seconds", "x"), ("losses", []), ("losses", {"a": "b"}),
], ids=str)
def test_an_absurd_scale_is_refused_by_name(run_copy: Run, key: str, value: Any) -> None:
    path = run_copy.scale_dir(1) / "scale.json"
    change(path, set_in(key, value=value))
    assert refusal(run_copy.path).startswith(f"{path}: {key} is ")
    assert refusal(run_copy.path, Run.describe).startswith(f"{path}: {key} is ")


@pytest.mark.parametrize("name", ["config.json", "scale_01/scale.json"])
def test_json_beyond_ours_is_refused(run_copy: Run, name: str) -> None:
    path = run_copy.path / name
    whole = path.read_bytes().rstrip()[:-1]
    for more, said in ((b', "x": ' + b"[" * 17 + b"]" * 17 + b"}", "nested more than 16 deep"),
                       (b', "x": ' + b"9" * 5000 + b"}", "not valid JSON"),
                       (b"}" + b" " * MAX_JSON_BYTES, "expected at most 16777216"), (b"", "not valid JSON")):
        path.write_bytes(whole + more)
        assert refusal(run_copy.path).startswith(str(path))
        assert said in refusal(run_copy.path)


@pytest.mark.parametrize("name", ["clip.safetensors", "z_fixed.safetensors", GENERATOR, "scale_01/scale.json"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "circle", "folder"])
def test_what_is_no_file_is_refused_without_waiting(run_copy: Run, name: str, kind: str) -> None:
    path = run_copy.path / name
    path.unlink()
    make = {"pipe": os.mkfifo, "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
            "circle": lambda path: path.symlink_to(path), "folder": Path.mkdir}
    make[kind](path)
    with pytest.raises((RunError, OSError)) as refused:
        USES.get(name, Run.sample)(load_run(run_copy.path))
    assert str(path) in str(refused.value)


# ---- a state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("edit", "said"), [
    (lambda tensors: tensors.update({"../x": torch.zeros(1)}), r"tensor \.\./x is not expected"),
    (lambda tensors: tensors.update({"adam.critics.99.step": torch.zeros(())}), "tensor adam.critics.99.step is not"),
    (lambda tensors: tensors["generator.tail_bias"].fill_(torch.nan), "tensor generator.tail_bias holds NaN"),
    (lambda tensors: tensors.update({"adam.critics.0.step": torch.zeros(3)}), "tensor adam.critics.0.step is"),
], ids=["extra", "extra slot", "NaN", "step"])
def test_a_state_from_a_stranger_is_refused_by_name(clip: Clip, tiny_config: Callable[..., TrainConfig], tmp_path: Path,
                                                    edit: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        train(clip, tmp_path / "run", tiny_config(), should_stop=lambda: True)
    path = tmp_path / "run" / "state.safetensors"
    tensors, place = read_tensors(path)
    edit(tensors)
    path.write_bytes(save(tensors, {name: json.dumps(value) for name, value in place.items()}))
    with pytest.raises(RunError, match=f"state.safetensors: {said}"):
        train(clip, tmp_path / "run", tiny_config())


def test_a_log_of_other_lines_is_read_over(clip: Clip, tiny_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        train(clip, tmp_path / "run", tiny_config(), should_stop=lambda: True)
    log = tmp_path / "run" / "stats.jsonl"
    ours = b'{"scale": 0, "iteration": 1}\n'
    log.write_bytes(b'[1]\n{"scale": "x", "iteration": 1}\n\xff\n{}\n' + b"[" * 9999 + b"\n" + ours)
    assert train(clip, tmp_path / "run", tiny_config()).scales_done == 3
    assert log.read_bytes().startswith(ours)


def test_the_records_are_where_the_tests_think(run: Run) -> None:
    assert record_of(run.path, GENERATOR) == run.scale_dir(1) / "scale.json"
    assert set(run.scale_record(1)["sha256"]) == {file.name for file in run.scale_dir(1).iterdir()} - {"scale.json"}
