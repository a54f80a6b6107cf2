"""What the template of a report gets: words, figures and pictures of every run, nothing of it escaped yet."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..run_folder import package_version
from ..runs import Run
from ..wording import FIELDS, as_typed, changed_settings, option_name, seconds_text, size_text, train_command
from . import charts
from .clips import LOSSLESS_PIXELS, Moving
from .log import ScaleLog

LOSSES = {
    "D/image": "image critic, fake - real", "D/video": "video critic, fake - real",
    "D/image_gp": "image critic, gradient penalty", "D/video_gp": "video critic, gradient penalty",
    "G/image": "generator against the image critic", "G/video": "generator against the video critic",
    "G/rec": "reconstruction, L1", "G/stat": "colour statistics",
}


@dataclass(kw_only=True)
class RunView:
    """A run as the page shows it."""

    run: Run
    name: str
    log: list[ScaleLog]
    records: list[dict[str, Any]]
    """What scale.json says of the finished scales."""
    clips: list[Moving] = field(default_factory=list)
    previews: list[Moving | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def content(views: list[RunView]) -> dict[str, Any]:
    """The values of `page.html`."""
    shown = {f"{number}-{place}": clip for number, view in enumerate(views)
             for place, clip in enumerate([*view.clips, *view.previews]) if clip is not None}
    lossless = sum(clip.pixels for clip in shown.values()) <= LOSSLESS_PIXELS
    return {
        "title": views[0].name if len(views) == 1 else f"{len(views)} runs", "frame_format": "webp",
        "lossless": lossless, "clips": {name: clip.encoded(lossless=lossless) for name, clip in shown.items()},
        "runs": [_run(number, view) for number, view in enumerate(views)],
        "charts": list(_charts(views)), "losses": list(_losses(views)),
        "phases": _phases(views[0]) if len(views) == 1 else None, "version": package_version("sgif"),
        "differing": list(_differing(views)) if len(views) > 1 else [],
    }


def _run(number: int, view: RunView) -> dict[str, Any]:
    run, path = view.run, shlex.quote(str(view.run.path))
    source = Path(run.source)
    commands = [("How it was trained" if run.finished else "Go on", train_command(run))]
    if run.scales_done:
        commands += [("More samples", f"sgif sample {path} -n 8")]
        commands += [] if run.config.slow_motion > 1 else [("A sample that loops", f"sgif sample {path} --loop")]
    return {
        "name": view.name, "clip_name": source.name or run.source, "notes": view.notes,
        "clip_notes": _strings(run.record["clip"].get("notes")), "facts": dict(_facts(view)),
        "clips": [_screen(f"{number}-{place}", clip) for place, clip in enumerate(view.clips)],
        "scales": list(_scales(number, view)), "settings": _settings(view), "commands": commands,
    }


def _screen(name: str, clip: Moving) -> dict[str, Any]:
    height, width = clip.frames.shape[1:3]
    return {"clip": name, "label": clip.label, "height": height, "width": width // clip.cells}


def _facts(view: RunView) -> Iterator[tuple[str, str]]:
    """A run in short, by name; the same names in every run."""
    run, records = view.run, view.records
    seconds = sum(_number(record["seconds"]) for record in records)
    yield "clip", f"{run.num_frames} frames of {size_text(run.sizes[-1])}, {seconds_text(sum(run.frame_ms) / 1000)}"
    yield "preset", run.config.preset
    yield "scales", f"{len(records)} of {len(run.plans)}"
    yield "training", seconds_text(seconds) if records else "-"
    yield "reconstruction", f"{_number(records[-1]['rec_psnr_db']):.1f} dB" if records else "-"
    peak = max(log.peak_bytes for log in view.log)
    yield "peak memory", f"{peak / 2**30:.2f} GiB" if peak else "not known"
    devices = dict.fromkeys(record["device"] for record in records if isinstance(record.get("device"), str))
    yield "device", ", then ".join(devices) or "not recorded"
    yield "precision", "bfloat16" if run.config.amp else "float32"
    versions = run.record.get("versions")
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items()
                                if isinstance(version, str)) if isinstance(versions, dict) else "not recorded"


def _scales(number: int, view: RunView) -> Iterator[dict[str, Any]]:
    """A row for every scale, the finished ones with figures."""
    for plan in view.run.plans:
        done = plan.index < len(view.records)
        record = view.records[plan.index] if done else {}
        clip = view.previews[plan.index] if plan.index < len(view.previews) else None
        yield {
            "index": plan.index, "size": size_text(plan.size), "kind": plan.kind, "done": done,
            "iterations": f"{plan.iterations:,}" if done else f"{view.log[plan.index].iteration:,} of "
                          f"{plan.iterations:,}",
            "noise": f"{_number(record.get('noise_amp', 0)):.3g}",
            "psnr": f"{_number(record.get('rec_psnr_db', 0)):.1f}",
            "time": seconds_text(_number(record.get("seconds", 0))),
            "screen": _screen(f"{number}-{len(view.clips) + plan.index}", clip) if clip else None,
        }


def _settings(view: RunView) -> dict[str, list[dict[str, Any]]]:
    """All settings by group, with what the preset has where it has something else."""
    config, changed = view.run.config, changed_settings(view.run.config)
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, about in FIELDS.items():
        groups.setdefault(about.metadata["group"], []).append({
            "option": option_name(name), "doc": about.metadata["doc"], "value": as_typed(name, getattr(config, name)),
            "preset": as_typed(name, changed[name]) if name in changed else None})
    return groups


def _differing(views: list[RunView]) -> Iterator[tuple[str, list[str]]]:
    """Facts and then settings that are not the same in all runs."""
    facts = [dict(_facts(view)) for view in views]
    rows = {name: [of_run[name] for of_run in facts] for name in facts[0]}
    rows |= {option_name(name): [as_typed(name, getattr(view.run.config, name)) for view in views]
             for name in FIELDS if name not in facts[0]}
    yield from ((name, values) for name, values in rows.items() if len(set(values)) > 1)


def _charts(views: list[RunView]) -> Iterator[tuple[str, str]]:
    """Title and picture of what is known of every scale as one number."""
    if any(view.records for view in views):
        psnr = [[_number(record["rec_psnr_db"]) or None for record in view.records] or [None] for view in views]
        yield (title := "Reconstruction, PSNR in dB"), charts.dots(title, psnr)
        seconds = [[_number(record["seconds"]) for record in view.records] or [0.0] for view in views]
        unit, name = (60, "minutes") if max(map(max, seconds)) > 180 else (1, "seconds")
        times = [[value / unit for value in of_run] for of_run in seconds]
        yield (title := f"Training, {name}"), charts.bars(title, times)
    peaks = [[log.peak_bytes / 2**30 for log in view.log] for view in views]
    if max(map(max, peaks)):
        yield (title := "Peak memory so far, GiB"), charts.bars(title, peaks)


def _losses(views: list[RunView]) -> Iterator[tuple[str, str, str]]:
    """Key, title and picture of every loss."""
    found = dict.fromkeys(name for view in views for log in view.log for name in log.losses)
    for name in [*(name for name in LOSSES if name in found), *(name for name in found if name not in LOSSES)]:
        runs = [[log.losses.get(name, []) for log in view.log] for view in views]
        yield name, LOSSES.get(name, ""), charts.curves(f"{name} {LOSSES.get(name, '')}", runs)


def _phases(view: RunView) -> tuple[str, dict[str, str]] | None:
    scales = [log.phase_seconds for log in view.log]
    return charts.phases("Seconds per iteration", scales) if any(map(sum, (s.values() for s in scales))) else None


def _number(value: float) -> float:
    """A number from a file, 0 where it is NaN or beyond what a page can show."""
    return float(value) if abs(value) < 1e12 else 0.0


def _strings(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
