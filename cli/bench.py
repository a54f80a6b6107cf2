"""`sgif bench`: speed, memory and growth beside the baselines, and what changed between two results."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .command import DONE, REGRESSION, Command, explain
from .text import json_text

if TYPE_CHECKING:
    from ..bench.result import Result, Settings

CASES = ("small", "paper", "large")
OUTPUT = "benchmarks"

EXAMPLES = """suites:
  ops        every operator and pass beside what torch has for it
  step       a training step beside plain ones
  memory     what every scale takes, and what fits
  scaling    cost against frame size, frames and channels
  example    what training on the example clip and sampling from it take
  all        these, one after the other

examples:
  sgif bench ops --dtype float32
  sgif bench all --counters    # launches, bytes, ...: the same everywhere
  sgif bench all --device cuda --cases large
  sgif bench compare bench/results benchmarks
  sgif bench show benchmarks/ops-cpu.json
  sgif bench document          # show bench/results in a checkout's documents

compare ends with exit code 3 when a counter rose, a result is newly off, or a
row is gone."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="SUITE", nargs="?", default="all",
                        help="what to measure; or compare, show, document [all]")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path,
                        help="for compare two results or folders of them, for show results")
    parser.add_argument("--device", metavar="NAME", default="auto",
                        help="auto, cpu, cuda, cuda:1 ...; one that is not there is counted and predicted [auto]")
    parser.add_argument("--dtype", metavar="NAMES", default="float32,bfloat16",
                        help="float32, bfloat16, or both with a comma between [both]")
    parser.add_argument("--cases", choices=CASES, default=CASES[0], metavar="SET",
                        help=f"{', '.join(CASES)}: how large the clips are [{CASES[0]}]")
    parser.add_argument("--counters", action="store_true", help="count only, time nothing: needs no quiet machine")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=f"folder for the results [{OUTPUT}]")
    parser.add_argument("--document", action="store_true",
                        help="write to bench/results of this checkout, and tables and pictures to its documents")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON value")


def run(args: argparse.Namespace) -> int:
    from ..engine import ConfigError

    actions = {"compare": run_compare, "show": run_show, "document": run_document}
    if args.what not in actions and args.files:
        raise ConfigError(f"{args.what} takes no file, got {args.files[0]}")
    return actions.get(args.what, run_suites)(args)


def run_suites(args: argparse.Namespace) -> int:
    """Run the chosen suites. Each result is written as soon as it is there; one that fails stops none behind it."""
    from ..bench.suites import chosen, run_suite, settings_for

    suites = chosen(args.what)
    settings = settings_for(args.device, args.dtype, args.cases, counters=args.counters,
                            tell=lambda line: print(line, file=sys.stderr, flush=True))
    folder = output_folder(args, settings)
    results, code = [], DONE
    for suite in suites:
        settings.tell(f"{suite.name}: {suite.summary}")
        try:
            results.append(run_suite(suite, command_of(args, suite.name), settings))
        except Exception as error:
            if args.debug:
                raise
            sentence, code = explain(error)
            settings.tell(f"sgif: {suite.name}: {' '.join(sentence.split())}")
        else:
            report(results[-1], folder, json=args.json)
    if args.json:
        print(json_text([result.to_json() for result in results], indent=2))
    if args.document and results:
        write_documents(sys.stderr if args.json else sys.stdout)
    return code


def output_folder(args: argparse.Namespace, settings: Settings) -> Path:
    """Where results go. Raises ConfigError where documents would show what was not measured or lies elsewhere."""
    from ..bench.documents import RESULTS, checkout
    from ..bench.pictures import require_matplotlib
    from ..engine import ConfigError

    if not args.document:
        return args.output or Path(OUTPUT)
    if args.output:
        raise ConfigError(f"--document writes to {RESULTS}: leave --output out")
    if not settings.timed:
        raise ConfigError("--document is for what was measured: leave --counters out, and name a device that is there")
    require_matplotlib()  # now, not after an hour
    return checkout() / RESULTS


def report(result: Result, folder: Path, *, json: bool) -> None:
    """Write a result; print its table and its path."""
    from ..bench.environment import file_name
    from ..bench.result import write_result

    path = folder / file_name(result)
    write_result(path, result)
    for note in result.device.get("notes", ()):
        print(f"note: {note}", file=sys.stderr)
    if not json:
        show(result)
        print(f"\n{path}\n", flush=True)


def show(result: Result) -> None:
    from ..bench.suites import chosen

    (suite,) = chosen(result.suite)
    print(suite.table(result))


def run_compare(args: argparse.Namespace) -> int:
    """Print what changed from the first to the second."""
    from ..bench.compare import compare, load_pairs, table
    from ..engine import ConfigError

    if len(args.files) != 2:
        raise ConfigError(f"compare takes two results or two folders of them, got {len(args.files)}")
    pairs, left_out = load_pairs(*args.files)
    comparisons = [compare(before, after) for before, after in pairs]
    for line in left_out:
        print(f"not compared: {line}", file=sys.stderr)
    print(json_text([comparison.to_json() for comparison in comparisons], indent=2) if args.json
          else "\n\n".join(map(table, comparisons)))
    return REGRESSION if any(comparison.regressions for comparison in comparisons) else DONE


def run_show(args: argparse.Namespace) -> int:
    """Print saved results."""
    from ..bench.result import load_result
    from ..engine import ConfigError

    if not args.files:
        raise ConfigError("show takes one result or more: which?")
    results = [load_result(path) for path in args.files]
    if args.json:
        print(json_text([result.to_json() for result in results], indent=2))
        return DONE
    for result in results:
        show(result)
    return DONE


def run_document(args: argparse.Namespace) -> int:
    """Put the committed results into the documents."""
    from ..engine import ConfigError

    if args.files:
        raise ConfigError(f"document takes no file, got {args.files[0]}: it shows what is in bench/results")
    write_documents(sys.stdout, json=args.json)
    return DONE


def write_documents(out: TextIO, *, json: bool = False) -> None:
    from ..bench.documents import checkout, refresh
    from ..bench.suites import SUITES

    paths = refresh(SUITES, checkout())
    if json:
        print(json_text(list(paths), indent=2), file=out)
        return
    for path in paths:
        print(path, file=out)


def command_of(args: argparse.Namespace, suite: str) -> str:
    """The command that measures one suite in the same way."""
    options = [f"--{name} {shlex.quote(value)}" for name, default in
               (("device", "auto"), ("dtype", "float32,bfloat16"), ("cases", CASES[0]))
               if (value := getattr(args, name)) != default]
    return " ".join(["sgif bench", suite, *options, *["--counters"] * args.counters])


BENCH = Command(
    name="bench", summary="measure speed, memory and growth beside the baselines",
    usage="[SUITE] [options]\n       sgif bench compare A B | show FILE ... | document",
    add_options=add_options, run=run, epilog=EXAMPLES, codes=(REGRESSION,),
)
