"""Make the picture of a report in the README, from a trained run, in the system's headless Chromium:

    python docs/make_screenshot.py runs/demo -o docs/images/report.webp

The upper part of the page as it opens in a window of 1280x1185, standing at the clip's first frame.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from sgif.engine import make_report

WINDOW = {"width": 1280, "height": 1185}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="WebP file to write")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        shot = screenshot(make_report([args.run], Path(folder, "report.html")).path)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(shot)).convert("RGB").save(args.output, "WEBP", quality=85, method=6)
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")


def screenshot(page: Path) -> bytes:
    """A PNG of the page's upper part."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        tab = browser.new_page(viewport=WINDOW, reduced_motion="reduce", offline=True)
        tab.goto(page.resolve().as_uri())
        tab.wait_for_selector("#player:not([hidden])")
        picture: bytes = tab.screenshot()
        browser.close()
    return picture


if __name__ == "__main__":
    main()
