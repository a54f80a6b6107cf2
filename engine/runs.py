"""A run: what training left in a folder, and the object that samples from it.

    config.json               settings, the clip's digest and durations, versions, hashes of the next two
    clip.safetensors          the clip at the finest scale, uint8 [T, H, W, 3]
    z_fixed.safetensors       z* [1, 3, T, h, w], the noise that reconstructs the clip
    stats.jsonl               a row per logged iteration: losses, seconds per phase, frames per second, peak memory
    scale_00/ ... scale_NN/   generator, image_critic, video_critic (.safetensors), preview.gif, and
                              scale.json: results and hashes of these files
    state.safetensors         weights and optimizers in the middle of a scale; gone when the run is finished
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .applications.loop import check_loop, cross_fade, loop_length
from .clip import frames_from_tensor, tensor_from_frames
from .config import ConfigError, TrainConfig
from .device import resolve_device
from .generator import Generator
from .noise import clip_path, noise_seed, sample_noise
from .pyramid import ScalePlan, build_pyramid, plan_scales
from .ranks import ALONE, join_ranks
from .run_records import check_run_record, check_scale_record
from .sampling import (
    ScaleNoise,
    TrainedScale,
    check_shape,
    device_of,
    gather,
    lead_frames,
    reconstruct,
    run_scales,
    stream,
)
from .storage import RunError, check_finite, load_network, read_json, read_tensors


class Run:
    """A run folder, finished or not. Samples come from the scales that are done.

    Raises:
        RunError: when the folder is no run, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.json").is_file():
            raise RunError(f"{self.path} is not a run folder (no config.json); expected one that 'sgif train' wrote")
        record_path = self.path / "config.json"
        self.record: dict[str, Any] = check_run_record(read_json(record_path), record_path)
        self.sha256: dict[str, str] = self.record.get("sha256") or {}
        """Of the clip and z*, by file; none in a run of schema 1."""
        clip = self.record["clip"]
        self.source: str = clip["source"]
        self.frame_ms: tuple[int, ...] = tuple(clip["frame_ms"])
        self.num_frames = len(self.frame_ms)
        try:
            self.config = TrainConfig.from_json(self.record["config"])
            self.plans = plan_scales(clip["height"], clip["width"], self.num_frames, self.config)
        except ConfigError as error:
            raise RunError(f"{self.path / 'config.json'}: {error}") from None
        self.sizes = tuple(plan.size for plan in self.plans)
        self.frames_made = self.num_frames * self.config.slow_motion
        """Frames of the reconstruction, and of a sample unless asked otherwise: the clip's own number, with slow motion
        that many times it."""

    def scale_dir(self, scale: int) -> Path:
        """Folder of a scale's files; it exists when the scale is done."""
        return self.path / f"scale_{scale:02d}"

    @property
    def scales_done(self) -> int:
        """How many scales, coarsest first, are trained."""
        return next((n for n in range(len(self.plans)) if not self.scale_dir(n).is_dir()), len(self.plans))

    @cached_property
    def frames(self) -> Tensor:
        """The clip at the finest scale, uint8 [T, H, W, 3]."""
        expected = torch.empty((self.num_frames, *self.sizes[-1], 3), dtype=torch.uint8, device="meta")
        return self._tensor("clip.safetensors", "frames", expected)

    @cached_property
    def clip(self) -> Tensor:
        """The clip [1, 3, T, H, W] at the finest scale, in [-1, 1]."""
        return tensor_from_frames(self.frames)

    @cached_property
    def real(self) -> list[Tensor]:
        """The clip at every scale, coarsest first, on the host."""
        return build_pyramid(self.clip, list(self.sizes))

    @cached_property
    def z_fixed(self) -> Tensor:
        """z* [1, 3, frames_made, h, w]."""
        return self._tensor("z_fixed.safetensors", "z_fixed",
                            torch.empty((1, 3, self.frames_made, *self.sizes[0]), device="meta"))

    def _tensor(self, file: str, name: str, expected: Tensor) -> Tensor:
        """The one tensor of a file beside config.json."""
        path = self.path / file
        tensors, _ = read_tensors(path, {name: expected}, self.sha256.get(file))
        check_finite(tensors, path)
        return tensors[name]

    def scale_record(self, scale: int) -> dict[str, Any]:
        """What scale.json says of a finished scale."""
        path = self.scale_dir(scale) / "scale.json"
        return check_scale_record(read_json(path), self.plans[scale], path, hashed=bool(self.sha256))

    def network_file(self, scale: int, name: str) -> tuple[Path, str | None]:
        """The file of a finished scale's generator, image_critic or video_critic, and its SHA-256, None where the run
        has none."""
        file = f"{name}.safetensors"
        return self.scale_dir(scale) / file, (self.scale_record(scale).get("sha256") or {}).get(file)

    def stages(self, device: torch.device, count: int | None = None) -> list[TrainedScale]:
        """The first `count` finished scales (all by default), frozen, on `device`."""
        return [self.stage(n, device) for n in range(self.scales_done if count is None else count)]

    def stage(self, scale: int, device: torch.device) -> TrainedScale:
        """A finished scale, frozen, on `device`."""
        generator = load_network(lambda: Generator(self.plans[scale], self.config),
                                 *self.network_file(scale, "generator"))
        generator.to(device).eval().requires_grad_(False)
        return TrainedScale(plan=self.plans[scale], generator=generator,
                            noise_amp=self.scale_record(scale)["noise_amp"])

    def sample(self, n: int = 1, *, size: tuple[int, int] | None = None, frames: int | None = None,
               start_scale: int = 0, loop: bool = False, seed: int = 0, first: int = 0,
               device: str | None = None) -> Tensor:
        """New clips [N, 3, T, H, W] in [-1, 1], at the finest scale that is done.

        Args:
            n: how many; sample `first + i` is the same clip in whichever batch it is asked for.
            size: (height, width) of the result; the trained one by default.
            frames: how many frames; `frames_made` by default. With slow motion they pass the clip's time once, however
                many they are.
            start_scale: above 0, the clip itself enters there instead of noise: its coarse structure stays.
            loop: the last frame flows into the first. With `start_scale` the clip's end is faded into its beginning,
                which takes a quarter of its frames unless `frames` says otherwise.
            seed, first: what the noise derives from.
            device: where to compute; the run's own choice by default.

        Raises:
            RunError: no scale is done yet, or start_scale is not among them.
            ValueError: for a size, a number of frames or of samples that cannot be.
        """
        if n < 1:
            raise ValueError(f"n is {n}, expected at least one sample")
        frames = self._length(frames, start_scale, loop)
        parts = self._sampler(size, frames, start_scale, loop, seed, device)
        return torch.cat([gather(parts(first + i), frames) for i in range(n)])

    def sample_frames(self, index: int = 0, *, size: tuple[int, int] | None = None, frames: int | None = None,
                      start_scale: int = 0, loop: bool = False, seed: int = 0, device: str | None = None,
                      together: bool = False) -> Iterator[Tensor]:
        """Sample `index` of `seed`, the same as of `sample`, as it is made: memory grows neither with the number of
        frames nor, beyond a few frames in RGB, with their size.

        Args:
            together: all processes of this launch make it and get it, each computing a part of the windows that large
                frames are made in.

        Yields:
            The clip's frames in order, uint8 [t, H, W, 3] on the host, t from 1 to 64.

        Raises:
            RunError, ValueError: as `sample` does, at once and not at the first frame.
        """
        parts = self._sampler(size, self._length(frames, start_scale, loop), start_scale, loop, seed, device, together)
        return (frames_from_tensor(part).cpu() for part in parts(index))

    def _length(self, frames: int | None, start_scale: int, loop: bool) -> int:
        if frames is not None:
            return frames
        return loop_length(self.num_frames, start_scale) if loop else self.frames_made

    def _sampler(self, size: tuple[int, int] | None, frames: int, start_scale: int, loop: bool, seed: int,
                 device: str | None, together: bool = False) -> Callable[[int], Iterator[Tensor]]:
        """A function that gives sample `index` in parts [1, 3, t, H, W] in [-1, 1] on the device."""
        stages = self.usable_stages(start_scale, device)
        trained = stages[-1].plan.size
        height, width = trained if size is None else size
        check_shape(frames, height, width)
        if loop or start_scale:
            self.refuse_slow_motion("a loop" if loop else f"start_scale {start_scale}")
        if loop:
            check_loop(frames, self.num_frames, start_scale)
        elif start_scale and frames != self.num_frames:
            raise ValueError(f"frames is {frames} with start_scale {start_scale}: the clip enters there, so expected "
                             f"its own {self.num_frames} frames")
        scale, torch_device = (height / trained[0], width / trained[1]), device_of(stages)
        ranks = join_ranks(torch_device) if together else ALONE

        def parts(index: int) -> Iterator[Tensor]:
            drawn = noise_seed(seed, "sample", index, device=torch_device)

            def noise(plan: ScalePlan, at: tuple[int, int], first: int, count: int) -> ScaleNoise:
                return sample_noise(plan, self.config, drawn, count, at, first=self.plans[start_scale],
                                    first_frame=first, path=clip_path(self.config, first, count, frames, torch_device))
            coarser = None
            if start_scale:
                clip, lead = self.real[start_scale - 1], lead_frames(stages[start_scale:]) if loop else 0
                coarser = stream(cross_fade(clip, frames) if loop else clip, frames, torch_device, lead=lead)
            for part in run_scales(stages[start_scale:], coarser, noise, frames, scale,
                                   loop=frames if loop else None, ranks=ranks):
                yield part.clamp_(-1, 1)

        return parts

    def reconstruct(self, *, device: str | None = None) -> Tensor:
        """The clip as the trained scales remember it, from z_opt = (z*, 0, ..., 0): [1, 3, frames_made, H, W] in
        [-1, 1].

        Raises:
            RunError: no scale is done yet.
        """
        return gather(self._reconstruction(device), self.frames_made)

    def reconstruct_frames(self, *, device: str | None = None) -> Iterator[Tensor]:
        """The same as it is made: frames in order, uint8 [t, H, W, 3] on the host."""
        return (frames_from_tensor(part).cpu() for part in self._reconstruction(device))

    def _reconstruction(self, device: str | None) -> Iterator[Tensor]:
        parts = reconstruct(self.usable_stages(0, device), self.z_fixed)
        return (part.clamp_(-1, 1) for part in parts)

    def usable_stages(self, start_scale: int, device: str | None) -> list[TrainedScale]:
        """All finished scales on `device` (the run's own choice where it is None), of which `start_scale` is one.
        Raises RunError where there are none, or it is not among them."""
        done = self.scales_done
        if not done:
            raise RunError(f"{self.path} has no finished scale yet; run 'sgif train' again to go on")
        if not 0 <= start_scale < done:
            raise RunError(f"start scale {start_scale} is not among the {done} finished scales, 0 to {done - 1}")
        torch_device = resolve_device(self.config.device if device is None else device)
        return self.stages(torch_device)

    def refuse_slow_motion(self, what: str) -> None:
        """Raises ValueError for `what` cannot be had of a run that was trained with slow motion."""
        if self.config.slow_motion > 1:
            raise ValueError(f"{what} of a run trained with slow_motion {self.config.slow_motion}: its frames go along "
                             "a path with two ends, from noise alone; train without slow motion for that")

    def scale_info(self) -> list[dict[str, Any]]:
        """What scale.json says of every finished scale."""
        return [self.scale_record(n) for n in range(self.scales_done)]

    def describe(self) -> dict[str, Any]:
        """The whole run as plain JSON values."""
        plans = [{"scale": p.index, "height": p.height, "width": p.width, "kind": p.kind, "channels": p.channels,
                  "frames_per_step": p.frames_per_step, "iterations": p.iterations} for p in self.plans]
        return {**self.record, "path": str(self.path), "scales": plans, "scales_done": self.scales_done,
                "finished": self.scale_info()}


def load_run(path: str | Path) -> Run:
    """Open a run folder. Raises RunError when it is none."""
    return Run(Path(path))
