"""Training: `train` goes over the scales, `ScaleSession` over the iterations of one, saving as it goes.

The state on disk is always a whole one. A run that was ended at any moment goes on from its last saved iteration when
`train` is called again, and ends in the same bits: every random number derives from (seed, scale, iteration).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..kernels import disable_fusion, enable_fusion
from .clip import Clip
from .config import ConfigError, TrainConfig
from .device import host_copy, peak_bytes, resolve_device, set_threads
from .events import Event, Listener, RunFinished, RunStarted, ScaleFinished, ScaleStarted, StepDone, StepLogged
from .losses import psnr_db
from .noise import noise_amplitude
from .preview import write_preview
from .profiling.memory import fitted_to_memory
from .ranks import Ranks, join_ranks
from .run_folder import append_row, keep_rows_before, open_or_create_run
from .runs import Run
from .sampling import TrainedScale, gather, reconstruct
from .step import ScaleData, ScaleTrainer
from .storage import (
    RunError,
    check_finite,
    check_tensors,
    read_tensors,
    sha256_of,
    sync_folder,
    write_json,
    write_tensors,
)
from .time_left import seconds_left

SLOTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps of every parameter


class TrainingStopped(RuntimeError):
    """Training was asked to stop; everything up to `iteration` of `scale` is saved."""

    def __init__(self, scale: int, iteration: int) -> None:
        super().__init__(f"stopped in scale {scale} at iteration {iteration}; the same call goes on from there")
        self.scale, self.iteration = scale, iteration


def train(clip: Clip, run_dir: str | Path, config: TrainConfig, *, on_event: Listener | None = None,
          should_stop: Callable[[], bool] = lambda: False) -> Run:
    """Learn `clip` into the folder `run_dir`, or go on with the run that is there.

    In each of several processes that `torchrun` started, the call learns with the others (docs/distributed.md).

    Args:
        on_event: called with every piece of news, from this thread; of several processes in the first.
        should_stop: asked after every iteration; a yes in any of several processes is one for all.

    Returns:
        The finished run.

    Raises:
        ConfigError: the settings, the clip's size or the device cannot be used, or its memory is too small.
        RunError: the folder holds something else, or another process of this launch has ended.
        TrainingStopped: `should_stop` said so; all work is saved.
    """
    device = resolve_device(config.device)
    set_threads(config.threads)
    config, memory_note = fitted_config(Path(run_dir), clip, config, device)
    ranks = join_ranks(device)
    tell = on_event if on_event and ranks.leads else (lambda event: None)
    with ranks.leader_first():
        run = open_or_create_run(Path(run_dir), clip, config)
        if ranks.leads:
            _clear(run.path)
    state = read_state(run)
    unfused = set_fusion(config, device) if run.scales_done < len(run.plans) else None
    tell(RunStarted(
        run_dir=run.path, config=config, device=ranks.describe(device),
        precision="bfloat16" if config.amp else "float32", fused=config.fuse and unfused is None,
        frames=run.num_frames, sizes=run.sizes,
        resumed_at=(state[1]["scale"], state[1]["iteration"]) if state else
        (run.scales_done, 0) if run.scales_done else None,
        notes=(*clip.notes, *([memory_note] if memory_note else []),
               *([f"norms are not fused: {unfused}"] if unfused else [])),
    ))
    for scale in range(run.scales_done, len(run.plans)):
        ScaleSession(run, scale, device, tell, ranks).train(state, should_stop)
        state = None
    if not ranks.leads:
        return run
    (run.path / "state.safetensors").unlink(missing_ok=True)
    report, notes = _report(run)
    tell(RunFinished(run_dir=run.path, seconds=sum(record["seconds"] for record in run.scale_info()), report=report,
                     notes=notes))
    return run


def _clear(path: Path) -> None:
    """Remove what a kill in the middle of a write has left."""
    for leftover in path.glob("scale_*.partial"):
        shutil.rmtree(leftover)
    for leftover in path.glob(".*.tmp"):
        leftover.unlink()


def fitted_config(path: Path, clip: Clip, config: TrainConfig, device: torch.device) -> tuple[TrainConfig, str | None]:
    """The settings that fit into the memory, unless all is trained already; one line where that changes something or
    cannot be told. Raises ConfigError."""
    if not config.memory_check:
        return config, None
    if (path / "config.json").exists() and (run := Run(path)).scales_done == len(run.plans):
        return config, None
    try:
        num_frames, height, width, _ = clip.frames.shape
        return fitted_to_memory(height, width, num_frames, config, device)
    except ConfigError:
        raise
    except Exception as error:  # the forecast leans on torch's inner parts, which training can do without
        return config, f"memory was not checked ({type(error).__name__}: {error})"


def _report(run: Run) -> tuple[Path | None, tuple[str, ...]]:
    """The run's report, made unless one is there that knows all scales; None and a line where it cannot be made."""
    path, finished = run.path / "report.html", run.scale_dir(len(run.plans) - 1) / "scale.json"
    try:
        if not path.exists() or path.stat().st_mtime_ns < finished.stat().st_mtime_ns:
            from .report.make import make_report

            make_report([run.path], path, device=run.config.device)
    except Exception as error:  # whatever it is, a library that is missing too: what was learned is safe
        return None, (f"no report was written ({type(error).__name__}: {error}); sgif report {run.path} tries again",)
    return path, ()


def set_fusion(config: TrainConfig, device: torch.device) -> str | None:
    """Fuse the norms where asked; one line that says why not where it cannot be had."""
    if not config.fuse:
        disable_fusion()
        return None
    return enable_fusion(device, torch.bfloat16 if config.amp else torch.float32)


State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def read_state(run: Run) -> State | None:
    """The saved middle of the scale that comes next, if there is one."""
    path = run.path / "state.safetensors"
    if not path.exists():
        return None
    tensors, place = read_tensors(path)
    if any(type(place.get(name)) is not int for name in ("scale", "iteration")) \
            or any(type(place.get(name, 0.0)) not in (int, float) for name in ("seconds", "cpu_seconds")) \
            or not 0 <= place["scale"] < len(run.plans) \
            or not 0 <= place["iteration"] < run.plans[place["scale"]].iterations:
        raise RunError(f"{path} does not say its scale and iteration: the run folder is damaged, remove that file")
    # A kill between a finished scale's files and the removal of this one leaves the state of a scale that is done.
    return (tensors, place) if place["scale"] == run.scales_done else None


class ScaleSession:
    """One scale from its first or last saved iteration to its files, which rank 0 writes."""

    def __init__(self, run: Run, scale: int, device: torch.device, tell: Callable[[Event], None],
                 ranks: Ranks) -> None:
        self.run, self.scale, self.device, self.tell, self.ranks = run, scale, device, tell, ranks
        self.config, self.plan = run.config, run.plans[scale]
        self.coarser = run.stages(device)
        self.data = self._data()
        self.trainer = ScaleTrainer(self.plan, self.config, self.coarser, self.data, device, ranks)
        self.seconds = self.cpu_seconds = 0.0  # spent on this scale, by earlier sessions too
        self.iteration = 0

    def _data(self) -> ScaleData:
        real = host_copy(self.run.real[self.scale], self.device)
        z_fixed = host_copy(self.run.z_fixed, self.device)
        if not self.coarser:
            return ScaleData(real=real, coarser_reconstruction=None, z_fixed=z_fixed, noise_amp=1.0)
        reconstruction = gather(reconstruct(self.coarser, z_fixed), self.run.frames_made)
        return ScaleData(real=real, coarser_reconstruction=host_copy(reconstruction, self.device), z_fixed=z_fixed,
                         noise_amp=noise_amplitude(reconstruction[:, :, ::self.config.slow_motion], real,
                                                   self.config.noise_gain))

    def train(self, state: State | None, should_stop: Callable[[], bool]) -> None:
        """Run the iterations that are left and write the scale's files. Raises TrainingStopped."""
        if state:
            self._restore(state)
        else:
            self._start_from_previous_scale()
        if self.ranks.leads:
            keep_rows_before(self.run.path / "stats.jsonl", self.scale, self.iteration)
        plan, config = self.plan, self.config
        self.tell(ScaleStarted(scale=self.scale, num_scales=len(self.run.plans), height=plan.height, width=plan.width,
                               kind=plan.kind, frames_per_step=plan.frames_per_step, iterations=plan.iterations,
                               start_iteration=self.iteration, noise_amp=self.data.noise_amp))
        losses: dict[str, float] = {}
        began = saved = logged = time.perf_counter()
        began_cpu = time.process_time()
        earlier, earlier_cpu, logged_iteration = self.seconds, self.cpu_seconds, self.iteration
        while self.iteration < plan.iterations:
            device_losses = self.trainer.train_step(self.iteration)
            self.iteration += 1
            self.tell(StepDone(scale=self.scale, iteration=self.iteration))
            last = self.iteration == plan.iterations
            if last or self.iteration % config.log_every == 0:
                losses = {name: float(value) for name, value in device_losses.items()}
                now = time.perf_counter()
                self._log(losses, (now - logged) / (self.iteration - logged_iteration))
                logged, logged_iteration = now, self.iteration
            self.seconds = earlier + time.perf_counter() - began
            self.cpu_seconds = earlier_cpu + time.process_time() - began_cpu
            stop = self.ranks.agree(should_stop())
            if self.ranks.leads and not last and (stop or time.perf_counter() - saved > config.save_seconds):
                self._save()
                saved = time.perf_counter()
            if stop and not last:
                self.ranks.wait()  # a process that ends before the state is saved would end the others too
                raise TrainingStopped(self.scale, self.iteration)
        if self.ranks.leads:
            self._finish(losses)
        self.ranks.wait()  # for the files, which the next scale reads
        if stop and self.scale + 1 < len(self.run.plans):
            raise TrainingStopped(self.scale + 1, 0)

    def _start_from_previous_scale(self) -> None:
        """Take over the coarser scale's weights where names and shapes match, in all three networks."""
        if self.scale == 0:
            return
        for name, network in self.trainer.networks.items():
            own = network.state_dict()
            path, sha256 = self.run.network_file(self.scale - 1, name)
            earlier = read_tensors(path, sha256=sha256)[0]
            check_finite(earlier, path)
            if own.keys() == earlier.keys() and all(own[key].shape == earlier[key].shape for key in own):
                network.load_state_dict(earlier)

    def _log(self, losses: dict[str, float], seconds_per_iteration: float) -> None:
        phase_seconds = self.trainer.clock.take()
        if not self.ranks.leads:
            return
        frames = self.plan.frames_made * max(self.config.d_steps, self.config.g_steps) * self.ranks.count
        rates = {"iterations_per_second": round(1 / seconds_per_iteration, 3),
                 "frames_per_second": round(frames / seconds_per_iteration, 3)}
        peak = peak_bytes(self.device)
        append_row(self.run.path / "stats.jsonl", {
            "scale": self.scale, "iteration": self.iteration, "losses": losses,
            "phase_seconds": phase_seconds, **rates, "peak_bytes": peak})
        left_scale, left_run = seconds_left(self.run.plans, self.scale, self.iteration, seconds_per_iteration)
        self.tell(StepLogged(scale=self.scale, iteration=self.iteration, losses=losses, **rates,
                             seconds_left_scale=left_scale, seconds_left_run=left_run, peak_bytes=peak))

    def _save(self) -> None:
        """Write networks, optimizers and place as one file, whole or not at all."""
        tensors = {f"{name}.{key}": value for name, network in self.trainer.networks.items()
                   for key, value in network.state_dict().items()}
        for name, optimizer in self.trainer.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{index}.{slot}": value for slot, value in slots.items()}
        write_tensors(self.run.path / "state.safetensors", tensors, scale=self.scale, iteration=self.iteration,
                      seconds=self.seconds, cpu_seconds=self.cpu_seconds)

    def _restore(self, state: State) -> None:
        """The inverse of `_save`. Raises RunError when the state does not fit."""
        tensors, place = state
        slots = {f"adam.{name}.{index}.": dict(zip(SLOTS, (torch.zeros(()), weight, weight), strict=True))
                 for name, optimizer in self.trainer.optimizers.items()
                 for index, weight in enumerate(optimizer.param_groups[0]["params"])}
        weights = {f"{name}.": network.state_dict() for name, network in self.trainer.networks.items()}
        expected = {prefix + key: value for prefix, values in {**weights, **slots}.items()
                    for key, value in values.items()}
        check_tensors(tensors, expected, self.run.path / "state.safetensors")
        for name, network in self.trainer.networks.items():
            network.load_state_dict({key: tensors[f"{name}.{key}"] for key in network.state_dict()})
        for name, optimizer in self.trainer.optimizers.items():
            whole = optimizer.state_dict()
            whole["state"] = {index: {slot: tensors[f"adam.{name}.{index}.{slot}"] for slot in SLOTS}
                              for index in range(len(optimizer.param_groups[0]["params"]))}
            optimizer.load_state_dict(whole)
        self.iteration = place["iteration"]
        self.seconds, self.cpu_seconds = (float(place.get(name, 0.0)) for name in ("seconds", "cpu_seconds"))

    def _finish(self, losses: dict[str, float]) -> None:
        """Write the scale's folder beside its place and rename it into it."""
        folder = self.run.scale_dir(self.scale)
        partial = folder.with_name(folder.name + ".partial")
        partial.mkdir()
        sha256 = {f"{name}.safetensors": write_tensors(partial / f"{name}.safetensors", network.state_dict())
                  for name, network in self.trainer.networks.items()}
        generator = self.trainer.generator.eval().requires_grad_(False)
        stages = [*self.coarser, TrainedScale(plan=self.plan, generator=generator, noise_amp=self.data.noise_amp)]
        reconstruction = gather(reconstruct(stages, self.data.z_fixed), self.run.frames_made)
        psnr = psnr_db(reconstruction[:, :, ::self.config.slow_motion], self.data.real)
        write_preview(partial / "preview.gif", stages, reconstruction, self.run)
        sha256["preview.gif"] = sha256_of(partial / "preview.gif")
        write_json(partial / "scale.json", {
            "scale": self.scale, "height": self.plan.height, "width": self.plan.width, "kind": self.plan.kind,
            "iterations": self.plan.iterations, "noise_amp": self.data.noise_amp, "rec_psnr_db": round(psnr, 3),
            "seconds": round(self.seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3),
            "device": self.ranks.describe(self.device), "losses": losses, "sha256": sha256,
        })
        partial.rename(folder)
        sync_folder(self.run.path)
        self.tell(ScaleFinished(scale=self.scale, num_scales=len(self.run.plans), seconds=self.seconds,
                                rec_psnr_db=psnr, preview=folder / "preview.gif"))
