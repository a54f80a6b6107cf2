"""The page of an experiment: clips side by side and the figures, one file without scripts that asks no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ...engine import load_run, read_clip
from ...engine.storage import write_bytes
from ..environment import counted
from .results import Result, Row, caption, clip_rows, headings, mean_rows, verdict, warnings_of

SHOWN = 3  # samples of each model, the first ones
QUALITY = 85  # of the copies in the page; the samples beside it are lossless
TITLES = {"table1": "SinGAN-GIF beside SinGAN (All Frames)", "ablations": "SinGAN-GIF and what its parts are for",
          "quality": "SinGAN-GIF after fewer and after more iterations"}
LEGEND = ("Distances: the lower, the nearer to the clip. Diversity: how much samples differ from each other, in parts "
          "of the clip's own deviation. PSNR: of the reconstruction. The samples shown are each model's first ones, "
          "not chosen.")

STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --soft: #667080; --line: #d9dde3; --ground: #fff; --card: #f5f6f8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa4b2; --line: #343a43; --ground: #15181c; --card: #1d2126 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 68rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; padding-top: 1rem; border-top: 1px solid var(--line) }
h3 { font-size: .95rem; margin: 0 0 .35rem }
p { margin: .35rem 0 .9rem }
.lead { font-size: 1.1rem }
.soft, figcaption { color: var(--soft); font-size: .85rem }
.clips { display: grid; grid-template-columns: 1fr 3fr; gap: 1.25rem; margin: 1rem 0 }
.real { position: sticky; top: 1rem; align-self: start }
.samples { display: grid; grid-template-columns: repeat(3, 1fr); gap: .5rem; margin-bottom: 1rem }
img { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--card) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .35rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--ground) }
thead th { color: var(--soft); font-weight: 500 }
tbody th { font-weight: 500 }
code { font-size: .85em; background: var(--card); padding: .1em .3em; border-radius: 3px }
@media (max-width: 40rem) {
  .clips { grid-template-columns: 1fr; gap: .75rem } .real { position: static; max-width: 50% } .samples { gap: .25rem }
  th:first-child { white-space: normal; min-width: 6.5rem } }
"""


def write_page(path: Path, result: Result) -> None:
    """Write the page beside the runs that it shows."""
    write_bytes(path, page(result, path.parent).encode())


def page(result: Result, folder: Path) -> str:
    """The whole page; samples are read from the runs in `folder`."""
    title = TITLES[result["what"]]
    body = [f"<h1>{title}</h1>", *([f'<p class="lead">{escape(verdict(result))}</p>'] if verdict(result) else [])]
    if result["mean"] and result["clips_asked"] > 1:
        body.append(html_table(f"mean of {counted(result['clips_done'], 'clip')}", result, mean_rows(result)))
    body += [f'<p class="soft">{LEGEND}</p>', *(f'<p class="soft">{escape(line)}.</p>' for line in warnings_of(result))]
    for clip in result["clips"]:
        body += clip_section(result, clip, folder)
    body.append(f'<h2>Conditions</h2>\n<p class="soft"><code>{escape(result["command"])}</code></p>\n'
                f'<p class="soft">{escape(caption(result))}</p>')
    return "\n".join([
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Should anything ever slip through, it can neither run nor ask a network.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        'style-src \'unsafe-inline\'">',
        f"<title>{title}</title>", f"<style>{STYLE}</style>", "</head>", "<body>", *body, "</body>", "</html>", ""])


def clip_section(result: Result, clip: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """One clip: it, samples of each model beside it, and the figures."""
    runs = {key: folder / clip["folder"] / key for key in clip["models"]}
    yield f"<h2>{escape(clip['name'])}</h2>"
    yield f'<p class="soft">{counted(clip["frames"], "frame")} of {clip["height"]}x{clip["width"]}</p>'
    real = load_run(next(iter(runs.values())))
    yield '<div class="clips">'
    yield f'<div class="real"><h3>The clip</h3>{picture(real.frames.numpy(), real.frame_ms, "the clip")}</div>\n<div>'
    for model in result["models"]:
        if record := clip["models"].get(model["key"]):
            yield f'<h3>{escape(model["title"])}</h3>\n<div class="samples">'
            for number, file in enumerate(record["files"][:SHOWN]):
                sample = read_clip(runs[model["key"]] / file)
                yield picture(sample.frames.numpy(), sample.frame_ms, f"sample {number} of {model['title']}")
            yield "</div>"
    yield "</div>\n</div>"
    yield html_table("", result, clip_rows(result, clip))


def picture(frames: Any, frame_ms: Sequence[int], words: str) -> str:
    """Frames uint8 [T, H, W, 3] as an image that moves, inside the page."""
    first, *others = map(Image.fromarray, frames)
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=others, duration=list(frame_ms), loop=0, quality=QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    return (f'<img src="data:image/webp;base64,{data}" width="{first.width}" height="{first.height}" '
            f'alt="{escape(words)}">')


def html_table(title: str, result: Result, rows: Sequence[Row]) -> str:
    """One table of figures."""
    head = "".join(f"<th>{escape(name)}</th>" for name in (title, *headings(result).values()))
    lines = ("".join((f"<tr><th>{escape(name)}</th>", *(f"<td>{escape(cell)}</td>" for cell in cells), "</tr>"))
             for name, cells in rows)
    return "\n".join([f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>', *lines,
                      "</tbody></table></div>"])
