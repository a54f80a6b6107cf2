"""How much of the clip a variation keeps: a moving sheet with a row for each scale at which the clip enters.

    python examples/variations_sheet.py runs/clouds -o variations.gif

The first row starts from noise alone; the further down, the later the clip enters, and the more of it stays.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from sgif.engine import frames_from_tensor, load_run, write_clip

GAP_PX = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("variations.gif"))
    parser.add_argument("--columns", type=int, default=4, help="samples in a row")
    arguments = parser.parse_args()

    run = load_run(arguments.run)
    rows = [run.sample(arguments.columns, start_scale=scale) for scale in range(run.scales_done)]
    padded = [torch.nn.functional.pad(samples, (0, GAP_PX, 0, GAP_PX), value=1.0) for samples in rows]
    sheet = torch.cat([torch.cat(list(samples.split(1)), 4) for samples in padded], 3)  # [1, 3, T, rows, columns]
    write_clip(arguments.output, frames_from_tensor(sheet), run.frame_ms)
    print(arguments.output)


if __name__ == "__main__":
    main()
