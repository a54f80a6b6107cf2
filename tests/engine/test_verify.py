"""`verify_run`: a whole run passes, and each kind of damage is found where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from sgif.engine import Clip, RunError, TrainConfig, train, verify_run
from sgif.engine.runs import Run
from sgif.engine.storage import read_tensors

from .strangers import change, flip_last_bit, rehash, without_hashes

SCALE_FILES = ["scale.json", "generator.safetensors", "image_critic.safetensors", "video_critic.safetensors",
               "preview.gif"]


def wrong(path: Path) -> dict[str, str]:
    """What is not as it should be, and what is said of it."""
    return {check.what: check.found for check in verify_run(path) if not check.ok}


def test_everything_in_a_whole_run_is_looked_at(run: Run) -> None:
    checks = {check.what: check for check in verify_run(run.path)}
    files = {str(file.relative_to(run.path)) for file in run.path.rglob("*") if file.is_file()}
    files -= {"stats.jsonl", "report.html"}
    assert set(checks) == files | {f"scale_0{scale}" for scale in range(3)}
    assert all(check.ok for check in checks.values()), checks
    recorded = run.scale_record(2)["rec_psnr_db"]
    assert checks["scale_02"].found.endswith(f" dB, recorded {recorded:.3f} dB")
    assert "hash as recorded" in checks["scale_01/generator.safetensors"].found


def test_a_run_of_schema_1_passes_and_says_that_it_has_no_hashes(run_copy: Run) -> None:
    checks = list(verify_run(without_hashes(run_copy.path)))
    assert all(check.ok for check in checks)
    assert sum("no hash recorded" in check.found for check in checks) == 2 + 3 * 3


@pytest.mark.parametrize("name", ["clip.safetensors", "z_fixed.safetensors",
                                  *(f"scale_01/{name}" for name in SCALE_FILES[2:])])
def test_a_changed_file_is_the_one_that_is_named(run_copy: Run, name: str) -> None:
    path = run_copy.path / name
    flip_last_bit(path)
    found = wrong(run_copy.path)
    assert found[name].startswith(f"{path} does not have the SHA-256")
    assert set(found) - {name} <= {f"scale_0{scale}" for scale in range(3)}  # what is made of it


def test_a_changed_generator_ends_the_reconstructions_from_it_on(run_copy: Run) -> None:
    path = run_copy.scale_dir(1) / "generator.safetensors"
    flip_last_bit(path)
    assert set(wrong(run_copy.path)) == {"scale_01/generator.safetensors", "scale_01", "scale_02"}


@pytest.mark.parametrize("name", SCALE_FILES)
def test_a_missing_file_is_named(run_copy: Run, name: str) -> None:
    (run_copy.scale_dir(2) / name).unlink()
    assert "is missing" in wrong(run_copy.path)[f"scale_02/{name}"]


def test_other_weights_with_a_right_hash_make_another_reconstruction(run_copy: Run) -> None:
    path = run_copy.scale_dir(1) / "generator.safetensors"
    tensors, _ = read_tensors(path)
    path.write_bytes(save({name: tensor + 0.1 for name, tensor in tensors.items()}))
    rehash(run_copy.path, "scale_01/generator.safetensors")
    found = wrong(run_copy.path)
    assert set(found) == {"scale_01", "scale_02"}
    assert "expected the recorded" in found["scale_01"]


def test_a_reconstruction_that_was_recorded_otherwise_is_named(run_copy: Run) -> None:
    change(run_copy.scale_dir(2) / "scale.json", lambda record: record.update(rec_psnr_db=record["rec_psnr_db"] + 0.1))
    assert list(wrong(run_copy.path)) == ["scale_02"]


def test_critics_of_another_shape_are_named(run_copy: Run) -> None:
    name = "scale_00/image_critic.safetensors"
    (run_copy.path / name).write_bytes(save({"tail.weight": torch.zeros(1)}))
    rehash(run_copy.path, name)
    assert wrong(run_copy.path) == {name: f"{run_copy.path / name}: tensor blocks.0.beta is missing"}


def test_without_config_json_there_is_nothing_to_judge(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        list(verify_run(tmp_path))


def test_a_critic_that_a_run_does_without_is_not_missed(clip: Clip, tiny_config: Callable[..., TrainConfig],
                                                        tmp_path: Path) -> None:
    train(clip, tmp_path / "run", tiny_config(video_weight=0.0, iterations=1))
    for path in (tmp_path / "run", without_hashes(tmp_path / "run")):
        checks = list(verify_run(path))
        assert all(check.ok for check in checks), checks
        assert not any("video_critic" in check.what for check in checks)
