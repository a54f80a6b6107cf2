"""Learn a clip and make new ones: the whole of sgif in a page.

    python examples/train_and_sample.py examples/clouds.gif -o runs/clouds

Run again it goes on where it stopped, and returns at once when all is done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sgif.engine import frames_from_tensor, preset_config, read_clip, train, write_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/example"))
    parser.add_argument("--preset", default="draft", help="draft for a CPU, fast for a GPU, paper for patience")
    parser.add_argument("--iterations", type=int, help="at every scale, where the preset's are too many")
    parser.add_argument("-n", type=int, default=4, help="how many samples")
    arguments = parser.parse_args()

    changes = {"iterations": arguments.iterations} if arguments.iterations else {}
    clip = read_clip(arguments.clip)
    run = train(clip, arguments.output, preset_config(arguments.preset, **changes),
                on_event=lambda event: print(type(event).__name__))

    for index, sample in enumerate(run.sample(arguments.n)):           # [3, T, H, W] in [-1, 1]
        path = arguments.output / f"sample_{index}.gif"
        write_clip(path, frames_from_tensor(sample[None]), clip.frame_ms)
        print(path)


if __name__ == "__main__":
    main()
