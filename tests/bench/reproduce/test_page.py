"""The page: everything in one file, nothing that runs or asks a network, whatever a clip is called."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from typing import Any, Literal

import pytest
from PIL import Image

from sgif.bench.reproduce.page import SHOWN, page
from sgif.bench.reproduce.results import markdown

from ...browser import Visit, contrasts, overflow_px, wait_for
from .conftest import HARM, Finished

VOID = {"meta", "link", "img"}


class Reader(HTMLParser):
    """Tags with their attributes and the text; refuses tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def html(finished: Finished) -> str:
    return (finished.folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(html: str) -> Reader:
    return Reader(html)


def test_a_clip_s_name_is_text_and_nothing_else(html: str, read: Reader) -> None:
    assert "<script" not in html
    assert HARM in read.text
    known = "html head meta link title style body h1 h2 h3 p div table thead tbody tr th td img code"
    assert {tag for tag, _ in read.tags} <= set(known.split())


def test_it_asks_no_network(html: str, read: Reader) -> None:
    addresses = [a[name] or "" for _, a in read.tags for name in ("src", "href") if name in a]
    assert [address for address in addresses if not address.startswith("data:")] == []
    assert "url(" not in html
    assert "@import" not in html
    policy = next(a["content"] for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_clips_stand_beside_samples_of_each_model_and_move(read: Reader) -> None:
    pictures = [a for tag, a in read.tags if tag == "img"]
    per_model = min(SHOWN, 2)
    assert len(pictures) == 2 * (1 + 2 * per_model)
    assert [a["alt"] for a in pictures[:3]] == ["the clip", "sample 0 of SinGAN-GIF", "sample 1 of SinGAN-GIF"]
    for a in pictures:
        image: Any = Image.open(io.BytesIO(base64.b64decode((a["src"] or "").partition(",")[2])))
        assert (image.size, image.n_frames) == ((26, 20), 4)
        assert (a["width"], a["height"]) == ("26", "20")


def test_figures_are_those_of_the_table(finished: Finished, read: Reader) -> None:
    rows = [line for line in markdown(finished.result).splitlines() if line.startswith(("| SinGAN", "| ratio"))]
    cells = {cell.strip() for row in rows for cell in row.strip("|").split("|")} - {""}
    assert len(cells) > 20
    assert [cell for cell in cells if cell not in read.text] == []


def test_it_is_for_light_and_dark_and_for_phones(html: str, read: Reader) -> None:
    assert "color-scheme: light dark" in html
    assert "prefers-color-scheme: dark" in html
    assert any(a.get("name") == "viewport" for _, a in read.tags)


def test_the_command_is_escaped(finished: Finished) -> None:
    text = page({**finished.result, "command": "sgif reproduce '<b>&'"}, finished.folder).decode()
    assert "<b>" not in text
    assert "sgif reproduce '<b>&'" in Reader(text).text


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_on_a_phone_and_can_be_read(visit: Visit, finished: Finished, scheme: Literal["light", "dark"]
                                             ) -> None:
    opened = visit(finished.folder / "index.html", viewport={"width": 320, "height": 640}, color_scheme=scheme)
    wait_for(opened, "[...document.images].every(image => image.complete)")
    assert opened.evaluate("[...document.images].every(image => image.naturalWidth === 26)")
    assert overflow_px(opened) == 0
    faint = {text: ratio for text, ratio in contrasts(opened).items() if ratio < 4.5}
    assert faint == {}
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == \
        {"light": "rgb(246, 246, 244)", "dark": "rgb(21, 23, 26)"}[scheme], "the look that all pages have"
