"""The page of a fleet: what it says, that it is escaped and self-contained, and how it looks in a browser."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sgif.engine.fleet import page as page_module
from sgif.engine.fleet.news import Ended
from sgif.engine.fleet.page import FleetPage
from sgif.engine.fleet.plan import Job, Refused

from ...browser import Visit, contrasts, overflow_px

HOSTILE = "<script>alert(1)</script>.gif"


@pytest.fixture
def plan(tiny_run: Any, tmp_path: Path) -> list[Job | Refused]:
    """A finished run, one with one scale, one not begun, and a clip that is none."""
    run = tiny_run.run
    for name in ("whole", "part"):
        shutil.copytree(run.path, tmp_path / name)
    for scale in (1, 2):
        shutil.rmtree(tmp_path / f"part/scale_0{scale}")
    (tmp_path / "part/report.html").unlink()
    jobs = [Job(name=name, source=f"clips/{name}.gif", run_dir=tmp_path / name, config=run.config, frames=6,
                sizes=run.sizes, finished=name == "whole") for name in ("whole", "part", "later")]
    return [*jobs, Refused(name=HOSTILE, source=HOSTILE, sentence=f"{HOSTILE} is no clip & never was", bug=False)]


@pytest.fixture
def page(plan: list[Job | Refused], tmp_path: Path) -> Path:
    ended = {"whole": Ended(name="whole", state="done"), "part": Ended(name="part", state="stopped"),
             HOSTILE: Ended(name=HOSTILE, state="failed", sentence="not shown twice")}
    FleetPage(tmp_path / "index.html", plan, "sgif fleet <clips>").write(ended)
    return tmp_path / "index.html"


def pictures(text: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall("data:image/webp;base64,([^\"]+)",
                                                                                   text)]


def test_it_says_how_every_clip_stands(page: Path) -> None:
    text = page.read_text()
    assert "<h1>1 of 4 clips trained, 1 failed, 1 stopped, 1 not yet</h1>" in text
    assert re.findall('<span class="state">(.*?)</span>', text) == ["done", "stopped", "not yet", "failed"]
    assert re.findall("<dt>scales</dt><dd>(.*?)</dd>", text) == ["3 of 3", "1 of 3"]
    assert "whole.gif, 6 frames of 12x16" in text


def test_it_links_the_reports_that_there_are(page: Path) -> None:
    links = re.findall('href="(?!data:)(.*?)"', page.read_text())
    assert links == ["whole/report.html"]
    assert (page.parent / links[0]).is_file()


def test_names_and_sentences_are_escaped(page: Path) -> None:
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.gif is no clip &amp; never was" in text
    assert "sgif fleet &lt;clips&gt;" in text


def test_pictures_move_as_far_as_there_is_room(page: Path, plan: list[Job | Refused], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = pictures(page.read_text())
    assert (whole.size, whole.n_frames) == ((4 * 16, 12), 6)  # type: ignore[attr-defined]
    assert (part.size, part.n_frames) == ((4 * 11, 8), 6)  # type: ignore[attr-defined]
    monkeypatch.setattr(page_module, "MAX_PIXELS", 4 * 4 * 12 * 16 * 2)
    FleetPage(tmp_path / "short.html", plan, "").write({})
    whole, part = pictures((tmp_path / "short.html").read_text())
    assert (whole.n_frames, part.n_frames) == (2, 4)  # type: ignore[attr-defined]
    monkeypatch.setattr(page_module, "MAX_PIXELS", 1)
    FleetPage(tmp_path / "still.html", plan, "").write({})
    whole, part = pictures((tmp_path / "still.html").read_text())
    assert not getattr(whole, "is_animated", False)


def test_a_preview_that_is_none_is_left_out(plan: list[Job | Refused], tmp_path: Path) -> None:
    (tmp_path / "whole/scale_02/preview.gif").write_text("no picture")
    FleetPage(tmp_path / "index.html", plan, "").write({})
    assert len(pictures((tmp_path / "index.html").read_text())) == 1


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_readable_on_a_phone_and_a_screen_in_light_and_dark(scheme: str, width: int, page: Path,
                                                                  visit: Visit) -> None:
    opened = visit(page, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert overflow_px(opened) == 0
    assert min(contrasts(opened).values()) >= 4.5
    assert opened.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert opened.evaluate("document.images.length") == 2
