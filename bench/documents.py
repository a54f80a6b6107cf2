"""Tables and pictures of the committed results, where the documents show them.

    sgif bench document

A suite's document has its tables between `<!-- bench-NAME:begin -->` and `<!-- bench-NAME:end -->`: the CPU's, then
each GPU's. Pictures lie in docs/images: the first result's by their own names, which the document's words link to,
further ones with the device's name behind it and linked under their table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..engine import RunError
from ..engine.storage import write_bytes
from . import readme
from .environment import NO_GPU, file_name
from .memory import fits_table
from .result import Result, is_result, load_result
from .suite import Suite

ROOT = Path(__file__).resolve().parents[1]
RESULTS, IMAGES, README, MEMORY = map(PurePosixPath, ("bench/results", "docs/images", "README.md", "docs/memory.md"))
NOT_MEASURED = "On a GPU: not yet measured."


def checkout() -> Path:
    """The folder of the sources and their documents. Raises RunError where only the packages are installed."""
    if not (ROOT / README).is_file() or not (ROOT / RESULTS).is_dir():
        raise RunError("documents are part of a checkout, and this sgif is installed without one")
    return ROOT


def committed(suite: Suite, root: Path) -> list[Result]:
    """The results of a suite in bench/results, the CPU's first."""
    found = [load_result(path) for path in sorted((root / RESULTS).glob(f"{suite.name}-*.json")) if is_result(path)]
    return sorted((result for result in found if result.device.get("gpu") != NO_GPU),
                  key=lambda result: result.device["kind"] != "cpu")


def contents(suites: Sequence[Suite], root: Path) -> dict[Path, str]:
    """What every document and picture has to hold, by path.

    Raises:
        ValueError: a document does not have its markers.
        RunError: matplotlib is not installed.
    """
    files: dict[Path, str] = {}

    def fill(document: PurePosixPath, name: str, text: str) -> None:
        path = root / document
        before = files.get(path) or path.read_text(encoding="utf-8")
        try:
            files[path] = fill_between(before, *markers(name), text)
        except ValueError as error:
            raise ValueError(f"{document}: {error}") from None

    results = {suite.name: committed(suite, root) for suite in suites}
    for suite in suites:
        blocks = []
        for place, result in enumerate(results[suite.name]):
            pictures = {_renamed(name, result) if place else name: svg for name, svg in suite.draw(result).items()}
            files |= {root / IMAGES / name: svg for name, svg in pictures.items()}
            blocks.append(suite.table(result))
            if place:
                to_images = PurePosixPath(*[".."] * (len(suite.document.parts) - 1)) / IMAGES
                blocks += [f"![{suite.summary}]({to_images / name})" for name in pictures]
        if all(result.device["kind"] == "cpu" for result in results[suite.name]):
            blocks.append(NOT_MEASURED)
        fill(PurePosixPath(suite.document), suite.name, "\n\n".join(blocks))
    first = {name: found[0] for name, found in results.items() if found}
    on_gpu = any(result.device["kind"] != "cpu" for found in results.values() for result in found)
    fill(README, "readme", readme.table(first, gpu_measured=on_gpu))
    if "memory" in first:
        fill(MEMORY, "fits", "\n".join(fits_table(first["memory"])))
    return files


def refresh(suites: Sequence[Suite], root: Path) -> list[Path]:
    """Write what differs from `contents`; returns the paths of it."""
    changed = []
    for path, text in contents(suites, root).items():
        if not path.is_file() or path.read_bytes() != text.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, text.encode())
            changed.append(path)
    return changed


def markers(name: str) -> tuple[str, str]:
    """Between which a document has the table of that name."""
    return f"<!-- bench-{name}:begin -->", f"<!-- bench-{name}:end -->"


def fill_between(text: str, begin: str, end: str, table: str) -> str:
    """`text` with `table` between its markers. Raises ValueError when it does not have one pair of them."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected one {begin} and, after it, one {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def _renamed(picture: str, result: Result) -> str:
    """`bench-ops.svg` -> `bench-ops-nvidia-h100-80gb-hbm3.svg`."""
    device = file_name(result).removeprefix(result.suite).removesuffix(".json")
    return f"{PurePosixPath(picture).stem}{device}.svg"
