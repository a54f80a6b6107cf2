"""One scale from its first or last saved iteration to its files: saving as it goes, noticing trouble, trying again.

The state on disk is always a whole one. Training that was ended at any moment goes on from its last saved iteration and
ends in the same bits: every random number derives from (seed, scale, iteration).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from .device import host_copy, peak_bytes
from .events import Event, ScaleFinished, ScaleGoesBack, ScaleStarted, StepDone, StepLogged
from .losses import psnr_db
from .noise import noise_amplitude
from .preview import write_preview
from .profiling.memory import frames_that_fit, shortage_text
from .ranks import Ranks
from .run_folder import STATE, append_row, keep_rows_before, row_interval
from .runs import Run
from .sampling import TrainedScale, gather, reconstruct
from .saved_state import SLOTS, State
from .step import ScaleData, ScaleTrainer
from .storage import (
    check_finite,
    check_tensors,
    read_tensors,
    sha256_of,
    sync_folder,
    write_json,
    write_tensors,
)
from .time_left import seconds_left
from .trouble import (
    GOOD_STATES,
    Diverged,
    LossWatch,
    UntrainableError,
    check_finite_state,
    is_out_of_memory,
    next_try,
)


class TrainingStopped(RuntimeError):
    """Training was asked to stop; everything up to `iteration` of `scale` is saved."""

    def __init__(self, scale: int, iteration: int) -> None:
        super().__init__(f"stopped in scale {scale} at iteration {iteration}; the same call goes on from there")
        self.scale, self.iteration = scale, iteration


class ScaleSession:
    """One scale from its first or last saved iteration to its files, which rank 0 writes.

    Losses and what is learned are the same on all ranks, so that all notice at once when they run away; a rank without
    memory ends them all.
    """

    def __init__(self, run: Run, scale: int, device: torch.device, tell: Callable[[Event], None],
                 ranks: Ranks) -> None:
        self.run, self.scale, self.device, self.tell, self.ranks = run, scale, device, tell, ranks
        self.config, self.plan = run.config, run.plans[scale]
        self.coarser = run.stages(device)
        self.data = self._data()
        self.good: State | None = None       # where a further try goes on, on the host; the scale's beginning if None
        self.retries: list[dict[str, Any]] = []
        self.iteration = 0
        self.seconds = self.cpu_seconds = 0.0  # spent on this scale, by earlier sessions too

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
        """Run the iterations that are left and write the scale's files, in as many tries as it takes. Raises
        TrainingStopped, UntrainableError."""
        self.saved_iteration = state[1]["iteration"] if state else 0
        if state is None and self.config.fit and self.config.memory_check:
            frames = self.ranks.least(frames_that_fit(self.run.plans, self.scale, self.run.num_frames, self.config,
                                                      self.device))
            if frames < self.plan.frames_per_step:
                self._take_frames(frames)
        diverged: str | None
        while True:
            try:
                self._prepare(state)
                return self._train(should_stop)
            except Diverged as error:
                diverged = str(error)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                diverged = None
            state = self._go_back(diverged)  # here, where no error keeps the tensors of its step

    def _prepare(self, state: State | None) -> None:
        """Networks and optimizers as `state` has them or, without tensors in one, as the scale begins."""
        tensors, place = state or ({}, {"iteration": 0})
        self.retries = place.get("retries", self.retries)
        self.plan = replace(self.plan, frames_per_step=place.get("frames_per_step", self.plan.frames_per_step))
        tried = self.retries[-1] if self.retries else {}
        config = replace(self.config, seed=tried.get("seed", self.config.seed), lr=tried.get("lr", self.config.lr))
        self.trainer = ScaleTrainer(self.plan, config, self.coarser, self.data, self.device, self.ranks)
        self.watch, self.iteration = LossWatch(), place["iteration"]
        if tensors or self.iteration:
            self._restore(tensors, place)
        else:
            self._start_from_previous_scale()
        if self.ranks.leads:
            keep_rows_before(self.run.path / "stats.jsonl", self.scale, self.iteration)

    def _go_back(self, diverged: str | None) -> State:
        """Where and how the scale goes on, having diverged for this reason, or for None run out of memory. Raises
        UntrainableError when it does not."""
        vars(self).pop("trainer", None)  # memory may have ended before there was one
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        why, change = (diverged, self._other_try(diverged)) if diverged else ("out of memory", self._less_memory())
        tensors, place = self.good or ({}, {"iteration": 0})
        self.tell(ScaleGoesBack(scale=self.scale, iteration=self.iteration, back_to=place["iteration"], why=why,
                                change=change))
        return tensors, {**self._place(), **place}

    def _other_try(self, why: str) -> str:
        """Choose what the next try after a divergence changes, and say it."""
        config, good_iteration = self.config, self.good[1]["iteration"] if self.good else 0
        retry = next_try(config.seed, config.lr, self.scale, len(self.retries) + 1, good_iteration)
        if retry is None:
            raise UntrainableError(
                f"scale {self.scale} cannot be trained: {why}, after {len(self.retries) + 1} tries with other seeds "
                f"and, at the end, a learning rate of {self.retries[-1]['lr']:.2g}; what is done is kept in "
                f"{self.run.path}: train into another folder with a smaller --lr than {config.lr:g}")
        self.retries = [*self.retries, retry]
        if not retry["from_iteration"]:
            self.good = None
        return "another seed" + (f" and a learning rate of {retry['lr']:.2g}" if retry["lr"] != config.lr else "")

    def _less_memory(self) -> str:
        """Choose what takes less memory, and say it."""
        frames, least = self.plan.frames_per_step, self.config.least_frames_per_step
        alone = self.ranks.count == 1  # of several ranks the others know nothing of it, and wait
        if alone and not self.config.checkpointing:
            self.run.config = self.config = replace(self.config, checkpointing=True)
            return "checkpointing, which changes no bit"
        if alone and self.config.fit and frames > least:
            self._take_frames(max(least, frames // 2))
            return f"{self.plan.frames_per_step} frames a step instead of {frames}"
        if self.ranks.leads and self.good and self.good[1]["iteration"] > self.saved_iteration:
            self._write(*self.good)
        raise UntrainableError(shortage_text(self.run.plans, self.plan, self.run.num_frames, self.config, self.device)
                               + f"; what was learned is kept in {self.run.path}")

    def _take_frames(self, frames: int) -> None:
        """Begin the scale anew with fewer frames a step, which the state says from now on, whatever memory there is."""
        self.plan, self.good = replace(self.plan, frames_per_step=frames), None
        if self.ranks.leads:
            self._write({}, {"iteration": 0})

    def _train(self, should_stop: Callable[[], bool]) -> None:
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
            self.watch.see(device_losses)
            self.iteration += 1
            self.tell(StepDone(scale=self.scale, iteration=self.iteration))
            last = self.iteration == plan.iterations
            if last or self.iteration % config.log_every == 0:
                self.watch.check()
                losses = {name: float(value) for name, value in device_losses.items()}
                now = time.perf_counter()
                self._log(losses, (now - logged) / (self.iteration - logged_iteration))
                logged, logged_iteration = now, self.iteration
            self.seconds = earlier + time.perf_counter() - began
            self.cpu_seconds = earlier_cpu + time.process_time() - began_cpu
            if not last and self.iteration % -(-plan.iterations // GOOD_STATES) == 0:
                self.good = self._learned(), {"iteration": self.iteration}
            stop = self.ranks.agree(should_stop())
            if self.ranks.leads and not last and (stop or time.perf_counter() - saved > config.save_seconds):
                self._save()
                saved = time.perf_counter()
            if stop and not last:
                self.ranks.wait()  # a process that ends before the state is saved would end the others too
                raise TrainingStopped(self.scale, self.iteration)
        self._learned()  # would raise
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
        has_row = self.iteration == self.plan.iterations or self.iteration % row_interval(self.plan, self.config) == 0
        phase_seconds = self.trainer.clock.take() if has_row else None
        if not self.ranks.leads:
            return
        frames = self.plan.frames_made * max(self.config.d_steps, self.config.g_steps) * self.ranks.count
        rates = {"iterations_per_second": round(1 / seconds_per_iteration, 3),
                 "frames_per_second": round(frames / seconds_per_iteration, 3)}
        peak = peak_bytes(self.device)
        if has_row:
            append_row(self.run.path / "stats.jsonl", {
                "scale": self.scale, "iteration": self.iteration, "losses": losses,
                "phase_seconds": phase_seconds, **rates, "peak_bytes": peak,
                **({"retry": len(self.retries)} if self.retries else {})})
        left_scale, left_run = seconds_left(self.run.plans, self.scale, self.iteration, seconds_per_iteration)
        self.tell(StepLogged(scale=self.scale, iteration=self.iteration, losses=losses, **rates,
                             seconds_left_scale=left_scale, seconds_left_run=left_run, peak_bytes=peak))

    def _learned(self) -> dict[str, torch.Tensor]:
        """Networks and optimizers, copied to the host. Raises Diverged where they are not worth keeping."""
        self.watch.check()
        tensors = {f"{name}.{key}": value for name, network in self.trainer.networks.items()
                   for key, value in network.state_dict().items()}
        for name, optimizer in self.trainer.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{index}.{slot}": value for slot, value in slots.items()}
        tensors = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        check_finite_state(tensors)
        return tensors

    def _place(self) -> dict[str, Any]:
        """What a state says besides its tensors and its iteration."""
        place: dict[str, Any] = {"scale": self.scale, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        if self.retries:
            place["retries"] = self.retries
        if self.plan != self.run.plans[self.scale]:
            place["frames_per_step"] = self.plan.frames_per_step
        return place

    def _save(self) -> None:
        """Write what is learned, and the state that a further try would go back to."""
        worst = self.watch.worst
        try:
            tensors, place = self._learned(), {"iteration": self.iteration}
        except Diverged:
            if self.ranks.count == 1:
                raise
            self.watch.worst = worst  # one rank alone must not go back: all will, when they look together
            return
        if self.good:
            tensors |= {f"good.{name}": value for name, value in self.good[0].items()}
            place["good_iteration"] = self.good[1]["iteration"]
        self._write(tensors, place)

    def _write(self, tensors: dict[str, torch.Tensor], place: dict[str, Any]) -> None:
        """Write a state as one file, whole or not at all."""
        write_tensors(self.run.path / STATE, tensors, **self._place(), **place)
        self.saved_iteration = place["iteration"]

    def _restore(self, tensors: dict[str, torch.Tensor], place: dict[str, Any]) -> None:
        """The inverse of `_save`. Raises RunError when the state does not fit."""
        slots = {f"adam.{name}.{index}.": dict(zip(SLOTS, (torch.zeros(()), weight, weight), strict=True))
                 for name, optimizer in self.trainer.optimizers.items()
                 for index, weight in enumerate(optimizer.param_groups[0]["params"])}
        weights = {f"{name}.": network.state_dict() for name, network in self.trainer.networks.items()}
        expected = {prefix + key: value for prefix, values in {**weights, **slots}.items()
                    for key, value in values.items()}
        good = {f"good.{name}": value for name, value in expected.items() if "good_iteration" in place}
        check_tensors(tensors, expected | good, self.run.path / STATE)
        if good:
            self.good = {name: tensors[f"good.{name}"] for name in expected}, {"iteration": place["good_iteration"]}
        for name, network in self.trainer.networks.items():
            network.load_state_dict({key: tensors[f"{name}.{key}"] for key in network.state_dict()})
        for name, optimizer in self.trainer.optimizers.items():
            whole = optimizer.state_dict()
            # Adam would take the tensors themselves and change them, also those of `good`.
            whole["state"] = {index: {slot: tensors[f"adam.{name}.{index}.{slot}"].clone() for slot in SLOTS}
                              for index in range(len(optimizer.param_groups[0]["params"]))}
            optimizer.load_state_dict(whole)
        self.seconds, self.cpu_seconds = (float(place.get(name, 0.0)) for name in ("seconds", "cpu_seconds"))

    def _finish(self, losses: dict[str, float]) -> None:
        """Write the scale's folder beside its place and rename it into it."""
        folder = self.run.scale_dir(self.scale)
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a try for which memory ended here
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
            **{name: value for name, value in self._place().items() if name in ("retries", "frames_per_step")},
        })
        partial.rename(folder)
        sync_folder(self.run.path)
        self.tell(ScaleFinished(scale=self.scale, num_scales=len(self.run.plans), seconds=self.seconds,
                                rec_psnr_db=psnr, preview=folder / "preview.gif"))
