"""Whether a run folder is whole: every hash, every network, and the reconstruction that it should still make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .critics import Critic
from .device import resolve_device
from .losses import psnr_db
from .run_folder import STATE
from .runs import Run, load_run
from .sampling import TrainedScale, gather, reconstruct
from .storage import DAMAGED, RunError, load_network, read_tensors, sha256_of

PSNR_TOLERANCE_DB = 0.05
"""Another device, number of threads or version rounds otherwise, which moves a PSNR by some 0.002 dB."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    """A file or a folder, within the run."""
    ok: bool
    found: str
    """What it is, or what is wrong with it and what to do, as one sentence."""


def verify_run(path: str | Path, *, device: str | None = None) -> Iterator[Check]:
    """Look at every file of a run, and go on after what is wrong.

    Raises:
        RunError: config.json is missing or damaged, without which nothing else can be judged.
    """
    run = load_run(path)
    where = resolve_device(run.config.device if device is None else device)
    yield Check(what="config.json", ok=True, found=f"schema {run.record['schema']}, {run.num_frames} frames, "
                                                   f"{run.scales_done} of {len(run.plans)} scales")
    yield _check("clip.safetensors", lambda: _tensor_text(run.frames, "clip.safetensors" in run.sha256))
    yield _check("z_fixed.safetensors", lambda: _tensor_text(run.z_fixed, "z_fixed.safetensors" in run.sha256))
    if (state := run.path / STATE).exists():
        yield _check(state.name, lambda: f"{len(read_tensors(state)[0])} tensors; a state has no hash")
    stages: list[TrainedScale] = []
    for scale in range(run.scales_done):
        yield from _scale_files(run, scale, stages, where)
        yield _check(run.scale_dir(scale).name, partial(_reconstruction_text, run, scale, stages))


def _check(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what=what, ok=True, found=look())
    except (RunError, OSError) as error:
        return Check(what=what, ok=False, found=str(error))


def _scale_files(run: Run, scale: int, stages: list[TrainedScale], device: torch.device) -> Iterator[Check]:
    """Look at all files of a scale; its generator joins `stages`, those of the coarser ones."""
    folder, plan = run.scale_dir(scale), run.plans[scale]
    record: dict[str, Any] = {}

    def look_at_record() -> str:
        record.update(run.scale_record(scale))
        return f"{plan.height}x{plan.width}, {plan.kind}, {record['iterations']} iterations"

    def look_at_generator() -> str:
        stages.append(run.stage(scale, device))
        return _network_text(stages[-1].generator, hashed)

    def look_at_critic(file: str, dims: int) -> str:
        critic = load_network(lambda: Critic(dims=dims, width=plan.channels), folder / file, hashes.get(file))
        return _network_text(critic, hashed)

    yield _check(f"{folder.name}/scale.json", look_at_record)
    hashes: dict[str, str] = record.get("sha256") or {}
    hashed = bool(hashes)
    networks: dict[str, Callable[[], str]] = {"generator.safetensors": look_at_generator}
    for name, dims, weight in (("image", 2, run.config.image_weight), ("video", 3, run.config.video_weight)):
        if weight:  # without one there is no such critic
            file = f"{name}_critic.safetensors"
            networks[file] = partial(look_at_critic, file, dims)
    for file in hashes or networks:
        yield _check(f"{folder.name}/{file}", networks.get(file) or partial(_hash_text, folder / file, hashes[file]))


def _reconstruction_text(run: Run, scale: int, stages: list[TrainedScale]) -> str:
    """Make what the scales up to this one remember of the clip."""
    if len(stages) <= scale:
        raise RunError("its reconstruction cannot be made without the generators up to it, one of which is damaged")
    made = gather(reconstruct(stages, run.z_fixed), run.frames_made)[:, :, ::run.config.slow_motion]
    psnr, recorded = psnr_db(made.cpu(), run.real[scale]), run.scale_record(scale)["rec_psnr_db"]
    if not abs(psnr - recorded) <= PSNR_TOLERANCE_DB:
        raise RunError(f"its reconstruction has {psnr:.3f} dB, expected the recorded {recorded:.3f} dB: the clip, z* "
                       "or a generator is not what was trained")
    return f"reconstruction {psnr:.3f} dB, recorded {recorded:.3f} dB"


def _tensor_text(tensor: Tensor, hashed: bool) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}, {_HASHED[hashed]}"


def _network_text(network: nn.Module, hashed: bool) -> str:
    return f"{sum(value.numel() for value in network.state_dict().values())} numbers, {_HASHED[hashed]}"


def _hash_text(path: Path, sha256: str) -> str:
    if sha256_of(path) != sha256:
        raise RunError(f"{path} does not have the SHA-256 that the run's record gives: {DAMAGED}")
    return _HASHED[True]


_HASHED = {True: "hash as recorded", False: "no hash recorded (schema 1)"}
