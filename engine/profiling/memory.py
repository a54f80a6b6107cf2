"""How much memory there is, and training that asks before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..config import ConfigError, TrainConfig
from ..device import peak_bytes
from ..launch import place
from ..pyramid import ScalePlan, fit_size, plan_scales
from .forecast import ScaleForecast, forecast_largest, forecast_scale, largest_scale

REFUSE_BEYOND = 1.1
"""Refused is what would need so many times what there is: forecasts may err by 10 %."""
FITS_BELOW = 0.9
"""Offered is what needs so much of it."""


def fitted_to_memory(height: int, width: int, num_frames: int, config: TrainConfig,
                     device: torch.device) -> tuple[TrainConfig, str | None]:
    """`config` for training a clip on `device`, with checkpointing, which changes no bit of the result, where it would
    not fit without; and one line that says so.

    Raises:
        ConfigError: it cannot fit, and `config.fit` is off: what is needed at which scale, what there is, and settings
            that would.
    """
    available = available_bytes(device)
    plans = plan_scales(height, width, num_frames, config)
    if available is None or _at_most_bytes(plans, num_frames) < available:
        return config, None
    forecast = forecast_largest(height, width, num_frames, config, device)
    if forecast.peak_bytes <= available * FITS_BELOW:
        return config, None
    plan = forecast.plan
    needs = (f"scale {plan.index} ({plan.height}x{plan.width}, {plan.frames_per_step} frames a step) needs "
             f"{gib_text(forecast.peak_bytes)} of memory and {device} has {gib_text(available)} free")
    if not config.checkpointing:
        saving = replace(config, checkpointing=True)
        if forecast_largest(height, width, num_frames, saving, device).peak_bytes <= available * FITS_BELOW:
            return saving, f"checkpointing is on, for {needs}; --no-memory-check leaves it off"
    if forecast.peak_bytes <= available * REFUSE_BEYOND:
        return config, None
    if config.fit:
        return replace(config, checkpointing=True), f"{needs}; with checkpointing and --fit scales take what fits"
    fitting = ", ".join(f"{options} ({gib_text(needed)})" for options, needed in
                        settings_that_fit(height, width, num_frames, config, device, forecast, available))
    raise ConfigError(f"{needs}; " + (f"these would fit: {fitting}" if fitting else "no setting that was tried fits")
                      + "; --fit takes as many frames a step as fit; --no-memory-check trains all the same")


def shortage_text(plans: Sequence[ScalePlan], plan: ScalePlan, num_frames: int, config: TrainConfig,
                  device: torch.device) -> str:
    """What to say when memory ended in training `plan`, which has replaced one of `plans`."""
    text = f"out of memory in scale {plan.index} ({plan.height}x{plan.width}, {plan.frames_per_step} frames a step)"
    taken, fitting, available = f"{gib_text(peak_bytes(device))} were taken at most", "", available_bytes(device)
    try:
        (height, width), now = plans[-1].size, [*plans[:plan.index], plan, *plans[plan.index + 1:]]
        forecast = forecast_scale(now, plan.index, num_frames, config, device, quick=True)
        taken = f"{gib_text(forecast.peak_bytes)} were forecast, {taken}"
        if available is not None:
            taken += f", {gib_text(available)} are free on {device}"
            fitting = ", ".join(options for options, _ in settings_that_fit(height, width, num_frames, config, device,
                                                                          forecast, available))
    except Exception:  # the forecast leans on torch's inner parts
        pass
    graphs = " or --no-graphs" if config.graphs and device.type == "cuda" else ""
    return (f"{text}: {taken}" + (f"; the same command with --fit{graphs} goes on" if not config.fit else "")
            + (f"; a new run would fit with {fitting}" if fitting else "; a new run with --amp or a smaller --max-size "
               "takes less"))


def frames_that_fit(plans: Sequence[ScalePlan], scale: int, num_frames: int, config: TrainConfig,
                    device: torch.device) -> int:
    """Frames a step that fit into the free memory by forecast, halved from the plan's as often as it takes."""
    plan, least = plans[scale], config.least_frames_per_step
    available, frames = available_bytes(device), plan.frames_per_step

    def fits(now: list[ScalePlan], room: int) -> bool:
        try:
            return _at_most_bytes(now, num_frames) < room or forecast_scale(
                now, scale, num_frames, config, device, quick=True).peak_bytes <= room * FITS_BELOW
        except Exception:  # the forecast leans on torch's inner parts, which training can do without
            return True

    while available is not None and frames > least \
            and not fits([*plans[:scale], replace(plan, frames_per_step=frames), *plans[scale + 1:]], available):
        frames = max(least, frames // 2)
    return frames


def settings_that_fit(height: int, width: int, num_frames: int, config: TrainConfig, device: torch.device,
                      forecast: ScaleForecast, available: int) -> Iterator[tuple[str, int]]:
    """Options that bring the need of `forecast` into `available` bytes, and what each needs; each is forecast."""
    room = available * FITS_BELOW
    first, last = config.frames_per_step

    def frames(share: float) -> tuple[int, int]:
        return first, min(last, max(2, int(last * share)))

    def need(changed: TrainConfig) -> int:
        return forecast_largest(height, width, num_frames, changed, device).peak_bytes

    small = replace(config, amp=True, checkpointing=True)
    share, found = room / forecast.peak_bytes, False
    candidates = [("--amp", replace(config, amp=True)), ("--amp --checkpointing", small),
                  ("--frames-per-step {}:{}", replace(config, frames_per_step=frames(share))),
                  ("--amp --checkpointing --frames-per-step {}:{}", replace(small, frames_per_step=frames(share)))]
    for options, changed in candidates:
        if changed == config or (found and changed.frames_per_step != config.frames_per_step and changed.amp):
            continue
        needed = need(changed)
        if needed <= room:
            found = True
            yield options.format(*changed.frames_per_step), needed
    smaller = max(config.min_size_px, int(max(fit_size(height, width, config.max_size_px)) * share**0.5))
    try:
        needed = need(replace(config, max_size_px=smaller))
    except ConfigError:  # too few pixels to learn from
        return
    if needed <= room:
        yield f"--max-size {smaller}", needed


def available_bytes(device: torch.device) -> int | None:
    """Memory that this process can still get on `device`; None where the system does not say.

    On a GPU what is free there and what torch has cached; on a CPU free RAM and swap, within a container's limit, and
    of that the share of one of this launch's processes.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    figures = [figure for figure in (_system_bytes(), _container_bytes()) if figure is not None]
    return min(figures) // place().local_ranks if figures else None


def gib_text(size: int) -> str:
    """`7.3 GiB`, below one `480 MiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _at_most_bytes(plans: list[ScalePlan], num_frames: int) -> int:
    """More than training takes, from the sizes alone: what fits by this is not rehearsed."""
    plan = plans[largest_scale(plans)]
    tensors = 200 * plan.frames_made + 16 * 32  # of a network's width, by frames: a step's 95, the reconstruction's
    clips = sum(3 * num_frames * p.slow_motion * p.height * p.width for p in plans)
    weights = sum(3 * 27 * p.channels**2 for p in plans)
    return 4 * (plan.channels * plan.height * plan.width * tensors + 3 * clips + 16 * weights)


def _system_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return sum(int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _container_bytes(root: Path = Path("/sys/fs/cgroup"), cgroups: Path = Path("/proc/self/cgroup")) -> int | None:
    """What is left of the least limit on this process's control group or one above it, versions 1 and 2. Files that
    the kernel has cached count as used there and are given back on demand."""
    try:
        entries = [line.split(":", 2) for line in cgroups.read_text().splitlines()]
    except OSError:
        return None
    left = []
    for number, controllers, path in entries:
        if number == "0":
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.lstrip("/")
        # In a container the path may be the host's, and what is mounted begins at the container's own group.
        for folder in (group, *group.parents):
            if folder == base.parent:
                break
            left += _left_in(folder, *names)
    return min(left, default=None)


def _left_in(folder: Path, limit: str, usage: str, cached: str) -> list[int]:
    try:
        ceiling, used = int((folder / limit).read_text()), int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return [ceiling - used + int(stat.get(cached, 0))]
    except (OSError, ValueError):  # no such group here, or "max"
        return []
