"""`sgif eval`: how near clips come to a real one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table

from ..engine.config import ConfigError
from ..engine.wording import size_text
from . import values
from .command import DONE, Command
from .text import UNCUT, json_text, plain_console
from .train import add_read_limits, limits_asked

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine import Evaluation
    from ..engine.limits import ReadLimits
    from ..engine.metrics.sources import Source

SAMPLES = 10

EXAMPLES = """examples:
  sgif eval clip.gif runs/clip/samples     # every clip of a folder
  sgif eval runs/clip -n 20                # samples of a run, never written
  sgif eval clip.mp4 a.mp4 b.mp4 --features inception --json

Lower is nearer, but for diversity; what the figures mean and which may be
compared: docs/evaluation.md."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("real", metavar="REAL|RUN", type=Path,
                        help="the real clip; or the folder of a run, whose samples are compared with its clip")
    parser.add_argument("generated", metavar="GENERATED", nargs="*", type=Path,
                        help="clips, folders of frames, or folders of clips")
    parser.add_argument("-n", "--number", type=values.positive, metavar="N",
                        help=f"of a RUN: how many samples [{SAMPLES}]")
    parser.add_argument("--seed", type=values.non_negative, metavar="N", help="of a RUN: their seed [0]")
    parser.add_argument("--features", metavar="NAME",
                        help="efficientnet-lite0, or inception, whose weights are downloaded where they are not there "
                             "[inception where its weights are there, else efficientnet-lite0]")
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="of the features: .pth or .safetensors [torch.hub's cache; the package of sgif[eval]]")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1 ... [auto]")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    add_read_limits(parser)


def run(args: argparse.Namespace) -> int:
    is_run = (args.real / "config.json").is_file()
    refuse_what_does_not_fit(args, is_run)
    real, generated, evaluation = (of_run if is_run else of_files)(args)
    if args.json:
        print(json_text({"real": asdict(real), "generated": list(map(asdict, generated)), **evaluation.to_json()},
                        indent=2))
        return DONE
    table = figures_table(generated, evaluation)
    console = plain_console(UNCUT)
    for line in conditions(real, generated, evaluation.features):
        console.print(line)
    console.print(table)
    for warning in evaluation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return DONE


def refuse_what_does_not_fit(args: argparse.Namespace, is_run: bool) -> None:
    """Raise ConfigError for words that do not go together."""
    if is_run and args.generated:
        raise ConfigError(f"{args.real} is a run, whose own samples are compared: leave {args.generated[0]} out, or "
                          "give the real clip instead of the run")
    if not is_run and not args.generated:
        raise ConfigError(f"nothing to compare with {args.real}: give generated clips, or the folder of a run alone")
    if not is_run and (args.number or args.seed is not None):
        raise ConfigError("--number and --seed are of a run's samples, and files are given: leave them out")


def of_files(args: argparse.Namespace) -> tuple[Source, list[Source], Evaluation]:
    from ..engine import evaluate, load_features
    from ..engine.clip_paths import clip_paths

    limits = limits_asked(args)
    (real, real_frames), *generated = [read(path, limits) for path in (args.real, *clip_paths(args.generated))]
    features = load_features(args.features, args.weights, args.device)  # last: they may have to be installed first
    return (real, [source for source, _ in generated],
            evaluate(real_frames, [frames for _, frames in generated], features))


def read(path: Path, limits: ReadLimits) -> tuple[Source, Tensor]:
    from ..engine import read_clip
    from ..engine.metrics.sources import file_source

    clip = read_clip(path, limits=limits)
    for note in clip.notes:
        print(f"{path}: {note}", file=sys.stderr)
    return file_source(path, clip.frames), clip.frames


def of_run(args: argparse.Namespace) -> tuple[Source, list[Source], Evaluation]:
    from ..engine import evaluate_run, load_features, load_run
    from ..engine.metrics.evaluate import run_frames
    from ..engine.metrics.sources import RAW, Source, raw_source

    trained, number, seed = load_run(args.real), args.number or SAMPLES, args.seed or 0
    features = load_features(args.features, args.weights, args.device)
    evaluation = evaluate_run(trained, features, n=number, seed=seed, device=args.device)
    real = raw_source(f"{trained.source} in {args.real}", run_frames(trained))
    samples = [Source(name=f"sample_seed{seed}_{index:03d}", kind=RAW, frames=trained.frames_made, height=real.height,
                      width=real.width) for index in range(number)]
    return real, samples, evaluation


def conditions(real: Source, generated: Sequence[Source], features: Mapping[str, Any]) -> Iterator[str]:
    """What the figures are of; without these lines they mean nothing."""
    weights = features["weights"]
    yield f"real       {real.name}: {real.frames} frames of {size_text((real.height, real.width))}; {real.kind}"
    for kind in dict.fromkeys(source.kind for source in generated):
        several = [source for source in generated if source.kind == kind]
        sizes = dict.fromkeys(size_text((source.height, source.width)) for source in several)
        yield f"generated  {len(several)} clip{'s' * (len(several) > 1)} of {', '.join(sizes)}; {kind}"
    yield f"features   {features['features']}, input {features['preprocessing']}"
    for figure, layer in features["layers"].items():
        yield f"           {figure}: {layer['channels']} channels, {layer['place']}"
    for figure, text in features["temporal"].items():
        yield f"           {figure}: {text}"
    yield f"weights    {weights['origin']}, {weights['file']}, SHA-256 {weights['sha256']}"


def figures_table(generated: Sequence[Source], evaluation: Evaluation) -> Table:
    """A row per clip, their mean and spread, and what the real clip scores against itself."""
    names = list(evaluation.mean)
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("clip", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)

    def add(title: str, figures: Mapping[str, float | None]) -> None:
        table.add_row(title, *("" if (value := figures.get(name)) is None else f"{value:.3f}" for name in names))

    for source, figures in zip(generated, evaluation.clips, strict=True):
        add(source.name, figures)
    table.add_section()
    add("mean", evaluation.mean)
    add("spread", evaluation.spread)
    table.add_section()
    if evaluation.reconstruction is not None:
        add("reconstruction", evaluation.reconstruction)
    add("real: last half, first half", evaluation.yardstick)
    return table


EVAL = Command(name="eval", summary="measure how near clips come to a real one",
               usage="REAL GENERATED... [options]\n       sgif eval RUN [-n N] [options]", add_options=add_options,
               run=run, epilog=EXAMPLES)
