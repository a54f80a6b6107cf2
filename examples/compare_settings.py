"""Two settings of the same clip, measured and put beside each other on one page.

    python examples/compare_settings.py examples/clouds.gif -o runs/compare

Here: noise that is blurred at the coarsest scale, as the preset has it, and noise that is not. It needs the extra
sgif[eval].
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sgif.engine import evaluate_run, load_features, make_report, preset_config, read_clip, train

SETTINGS = {"blurred": {}, "not-blurred": {"noise_smooth_px": 0.0}}
FIGURES = "sgfid-lite96", "tsgfid-lite96", "diversity"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/compare"))
    parser.add_argument("--iterations", type=int, help="at every scale, where the preset's are too many")
    arguments = parser.parse_args()

    budget = {"iterations": arguments.iterations} if arguments.iterations else {}
    clip, features = read_clip(arguments.clip), load_features("efficientnet-lite0")
    runs = {name: train(clip, arguments.output / name, preset_config("draft", **budget, **changes))
            for name, changes in SETTINGS.items()}
    for name, run in runs.items():
        mean = evaluate_run(run, features, n=4).mean
        print(name, *(f"{figure} {mean[figure]:.3g}" for figure in FIGURES))
    print(make_report([run.path for run in runs.values()], arguments.output / "report.html").path)


if __name__ == "__main__":
    main()
