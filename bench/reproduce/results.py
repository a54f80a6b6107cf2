"""The figures of an experiment: collected with their conditions, as Markdown, and against the paper's ratio."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..environment import Conditions, counted, digits, machine_and_versions
from .models import ALL_FRAMES, FULL, Model, What, differences

SCHEMA = 2
PAPER = {FULL: 0.37, ALL_FRAMES: 0.89}
"""SGFID of Table 1: nine GIFs, ten samples each. By all evidence of the 64 channels that SinGAN's code measures."""
PAPER_FIGURE = "sgfid64"
NO_DISTANCE = {"diversity", "rec_psnr_db", "cpu_seconds", "seconds"}
"""Figures that are no distances to the clip, the better the lower they are."""

Result = dict[str, Any]
Record = dict[str, Any]


def collect(what: What, command: str, now: Conditions, models: Sequence[Model], notes: Sequence[str],
            found: Mapping[str, Mapping[str, Record]]) -> Result:
    """Everything that is published, as JSON values. Means over clips are of the clips that every model has.

    Args:
        found: records by clip's folder and model; models that are still to come are missing.
    """
    whole = [name for name, records in found.items() if len(records) == len(models)]
    some = next(record for records in found.values() for record in records.values())
    mean = {model.key: mean_of(found[name][model.key] for name in whole) for model in models} if whole else {}
    return {
        "schema": SCHEMA, "what": what, "command": command, "commit": now.commit, "device": now.device,
        "versions": now.versions, "samples": some["samples"], "features": some["features"],
        "models": [{"key": model.key, "title": model.title, "changes": differences(model, models[0]),
                    "config": model.config.to_json()} for model in models],
        "notes": list(notes), "clips_done": len(whole), "clips_asked": len(found),
        "clips": [{"folder": name, **next(iter(records.values()))["clip"],
                   "yardstick": next(iter(records.values()))["evaluation"]["yardstick"], "models": dict(records)}
                  for name, records in found.items() if records],
        "mean": mean, "ratio": ratios(mean) if what == "table1" else {}, "paper": PAPER if what == "table1" else {},
    }


def mean_of(records: Iterable[Record]) -> dict[str, float | None]:
    """Means over clips of all figures, the reconstruction's PSNR and the seconds among them; None where one is missing.
    """
    rows = [row_of(record) for record in records]
    return {name: statistics.fmean(values) if all(value is not None for value in values) else None
            for name in rows[0] for values in [[row[name] for row in rows]]}


def row_of(record: Record) -> dict[str, Any]:
    """The figures of one model on one clip."""
    training = record["training"]
    return {**record["evaluation"]["mean"], "rec_psnr_db": training["rec_psnr_db"],
            "cpu_seconds": training["cpu_seconds"], "seconds": training["seconds"]}


def ratios(mean: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Each distance of SinGAN-GIF divided by the baseline's."""
    ours, theirs = mean.get(FULL, {}), mean.get(ALL_FRAMES, {})
    return {name: value / other for name, value in ours.items()
            if name not in NO_DISTANCE and value is not None and (other := theirs[name])}


def headings(result: Result) -> dict[str, str]:
    """The titles of the columns by the figures' names."""
    first = next(iter(result["clips"][0]["models"].values()))
    titles = {"nearest_real": "nearest real", "rec_psnr_db": "PSNR, dB", "cpu_seconds": "CPU min",
              "seconds": "training, min"}
    return {name: titles.get(name, name) for name in row_of(first)}


def cell(name: str, value: float | None, spread: float | None = None) -> str:
    """A figure as a table has it, with the standard deviation over samples where there is one."""
    if value is None:
        return "–"  # noqa: RUF001 (as tables have it)
    if name in ("cpu_seconds", "seconds"):
        return f"{value / 60:.1f}"
    if name == "rec_psnr_db":
        return f"{value:.1f}"
    return digits(value) + (f" ± {digits(spread, 2)}" if spread is not None else "")


Row = tuple[str, list[str]]


def mean_rows(result: Result) -> list[Row]:
    """The models' means over clips; in Table 1 also their ratio."""
    names = headings(result)
    rows = [(model["title"], [cell(name, result["mean"][model["key"]][name]) for name in names])
            for model in result["models"] if result["mean"]]
    if result["ratio"]:
        rows.append(("ratio", [cell(name, result["ratio"].get(name)) if name in result["ratio"] else "" for name
                               in names]))
    return rows


def clip_rows(result: Result, clip: Mapping[str, Any]) -> list[Row]:
    """The models on one clip, with the spread over samples, below the clip's last half against its first."""
    names = headings(result)
    yardstick = {name: cell(name, value) for name, value in clip["yardstick"].items()}
    rows = [("the clip, half against half", [yardstick.get(name, "") for name in names])]
    for model in result["models"]:
        if record := clip["models"].get(model["key"]):
            spread, values = record["evaluation"]["spread"], row_of(record)
            rows.append((model["title"], [cell(name, values[name], spread.get(name)) for name in names]))
    return rows


def verdict(result: Result) -> str:
    """Table 1's ratio beside the paper's, in a sentence; empty where it is not known yet."""
    first = next(iter(result["features"]["layers"]))
    if first not in result["ratio"]:
        return ""
    ours, theirs = (result["mean"][key][first] for key in (FULL, ALL_FRAMES))
    ratio, titles = result["ratio"][first], [model["title"] for model in result["models"]]
    other = "" if first == PAPER_FIGURE else f", with other features ({PAPER_FIGURE}), so that only ratios compare"
    return (f"{titles[0]} is {'nearer to the real thing' if ratio < 1 else 'no nearer to the real thing'} than "
            f"{titles[1]}: {first} {digits(ours)} against {digits(theirs)}, a ratio of {digits(ratio, 2)}. The paper "
            f"has {PAPER[FULL]} against {PAPER[ALL_FRAMES]}, a ratio of {PAPER[FULL] / PAPER[ALL_FRAMES]:.2f}{other}.")


def warnings_of(result: Result) -> list[str]:
    """What makes figures unsound or is still missing, a sentence each."""
    found = [f"{clip['name']}: {warning}" for clip in result["clips"]
             for record in clip["models"].values() for warning in record["evaluation"]["warnings"]]
    if result["clips_done"] < result["clips_asked"]:
        found.insert(0, f"not finished: {result['clips_done']} of {counted(result['clips_asked'], 'clip')} are done, "
                        "and the means are of these")
    return list(dict.fromkeys([*found, *result["notes"]]))


def caption(result: Result) -> str:
    """The conditions beside the command: samples, features, machine, versions, commits."""
    features = result["features"]
    layers = ", ".join(f"{name} of {layer['channels']} channels ({layer['place']})"
                       for name, layer in features["layers"].items())
    weights = features["weights"]
    config = result["models"][0]["config"]
    precision = "bfloat16" if config["amp"] else "float32"
    text = (f"Means over {counted(result['clips_done'], 'clip')}, "
            f"{counted(result['samples'], 'sample')} each, ± their standard deviation; raw frames against raw frames "
            f"at the trained size; preset {config['preset']}, seed {config['seed']}, {precision}. {budget(result)}. "
            f"Features: {features['features']}, {layers}; {features['preprocessing']}; weights {weights['file']}, "
            f"SHA-256 {weights['sha256'][:8]}. "
            f"{machine_and_versions(result['device'], result['versions'], result['commit'])}")
    commits = sorted({record["commit"] for clip in result["clips"] for record in clip["models"].values()}
                     - {result["commit"]})
    return text + (f" Some were measured before, at {', '.join(commit[:10] for commit in commits)}." if commits else "")


def budget(result: Result) -> str:
    """What is the same for all models, in a sentence without its full stop."""
    if result["what"] == "quality":
        counts = (f"{first}:{last}" for first, last in (model["config"]["iterations"] for model in result["models"]))
        return f"Iterations, coarsest to finest scale: {', '.join(counts)}; all else is the same"
    return f"The models have the same iterations, scales and widths{other_frames(result)}"


def other_frames(result: Result) -> str:
    """What a step of each model sees, where they differ."""
    frames = {model["title"]: model["config"]["frames_per_step"] for model in result["models"]}
    if len({*map(tuple, frames.values())}) == 1:
        return ""
    return " and not the same frames a step: " + ", ".join(f"{title} {first} to {last}" if first > last else
                                                           f"{title} {last}" for title, (first, last) in frames.items())


def markdown(result: Result) -> str:
    """The tables, the verdict and the conditions."""
    blocks = [verdict(result)] if verdict(result) else []
    if result["mean"]:
        blocks.append(table(f"mean of {counted(result['clips_done'], 'clip')}", headings(result).values(),
                            mean_rows(result)))
    for clip in result["clips"]:
        title = f"{clip['name']}, {clip['frames']} frames of {clip['height']}x{clip['width']}"
        blocks.append(table(title, headings(result).values(), clip_rows(result, clip)))
    blocks += [f"Note: {escaped(warning)}." for warning in warnings_of(result)]
    return "\n\n".join([*blocks, f"`{result['command'].replace('`', ' ')}`. {escaped(caption(result))}"])


def table(title: str, columns: Iterable[str], rows: Sequence[Row]) -> str:
    """One Markdown table."""
    columns = list(columns)
    lines = [f"| {escaped(title)} | {' | '.join(columns)} |", f"|:--|{'--:|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {escaped(name)} | {' | '.join(cells)} |" for name, cells in rows)])


def escaped(text: str) -> str:
    """Text of a file's name or the like, which Markdown must not read as its own."""
    text = html.escape(" ".join(text.split()), quote=False)
    for mark in "\\|*[]`":
        text = text.replace(mark, f"\\{mark}")
    return text
