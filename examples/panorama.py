"""A long, wide film out of a short clip: frames are written as they are made, so that memory does not grow.

    python examples/panorama.py runs/clouds -o panorama.mp4 --wider 3 --frames 600

The scene of the model goes on to the left and right, and in time. With --loop the last frame flows into the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sgif.engine import load_run, write_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("panorama.mp4"), help=".mp4, .gif, .webp or .png")
    parser.add_argument("--wider", type=float, default=3.0, help="than the clip, this many times")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    run = load_run(arguments.run)
    height, width = run.plans[run.scales_done - 1].size
    frames = run.sample_frames(size=(height, round(arguments.wider * width)), frames=arguments.frames,
                               loop=arguments.loop, seed=arguments.seed)  # uint8 [t, H, W, 3], a few at a time
    mean_ms = round(sum(run.frame_ms) / len(run.frame_ms))
    write_clip(arguments.output, frames, mean_ms)
    print(arguments.output)


if __name__ == "__main__":
    main()
