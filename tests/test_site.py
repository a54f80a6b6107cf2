"""The documentation builds as a site: every page is in it, every link leads somewhere, and it needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .browser import Visit, overflow_px
from .scripts import ROOT, load_script

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=ROOT,
                          capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def links(page: Path) -> set[str]:
    return set(re.findall(r'(?:href|src)="([^"#?]+)', page.read_text(encoding="utf-8")))


def test_every_page_is_in_the_navigation(site: Path) -> None:
    pages = {path.with_suffix(".html").name for path in DOCS.glob("*.md")} | {"index.html", "changelog.html",
                                                                             "contributing.html", "examples.html"}
    assert pages <= {path.name for path in site.glob("*.html")}
    assert pages - {"index.html"} <= links(site / "index.html")


def test_every_link_leads_to_a_file(site: Path) -> None:
    """mkdocs answers for its own pages; sources, results and pictures are ours."""
    broken = {(page.name, link) for page in site.glob("*.html") if page.name != "404.html" for link in links(page)
              if not re.match(r"[a-z]+:", link) and not (site / link).exists()}
    assert broken == set()
    assert "engine/config.py" in links(site / "reproduce.html")
    assert "bench/results" not in links(site / "benchmarks.html")  # a folder


def test_the_reference_shows_what_the_engine_exports(site: Path) -> None:
    from sgif import engine

    text = (site / "reference.html").read_text(encoding="utf-8")
    assert [name for name in engine.__all__ if f'id="sgif.engine.{name}"' not in text] == []
    assert "<code>noise_smooth_px</code>" in text


@pytest.mark.parametrize("name", ["index", "applications", "reference", "kernels"])
@pytest.mark.browser
def test_a_page_asks_for_nothing_beyond_the_site(site: Path, visit: Visit, name: str) -> None:
    page = visit(site / f"{name}.html", folder=site)
    assert page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
    assert page.evaluate("getComputedStyle(document.querySelector('.md-header')).position") == "sticky"  # has its style


@pytest.mark.browser
def test_a_phone_needs_no_sideways_scrolling(site: Path, visit: Visit) -> None:
    assert overflow_px(visit(site / "index.html", folder=site, viewport={"width": 390, "height": 800})) == 0


@pytest.mark.parametrize(("folder", "before", "after"), [
    ("docs", "[a](../README.md#memory-and-time)", "[a](index.md#memory-and-time)"),
    ("docs", "[a](../engine/config.py)", "[a](engine/config.py)"),
    ("docs", "[`r`](../bench/results)", "`r`"),
    ("docs", *["[a](kernels.md) [b](#here) [c](https://example.org/x.md)"] * 2),
    ("", "[![alt](docs/images/report.webp)](docs/report.md)", "[![alt](images/report.webp)](report.md)"),
    ("examples", "[a](make_clouds.py)", "[a](examples/make_clouds.py)")])
def test_links_are_those_of_the_site(folder: str, before: str, after: str) -> None:
    assert load_script("site_hooks").relink(before, folder, ROOT) == after
