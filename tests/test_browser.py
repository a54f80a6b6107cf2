"""What the browser tests rest on: `visit` fails a test whose page errs or asks for more than itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .browser import contrasts, overflow_px, visits

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("body", [
    "<script>throw new Error('broken')</script>",
    "<script>console.error('broken')</script>",
    "<img src='http://127.0.0.1:9/broken.png'>",
    "<script>fetch('http://127.0.0.1:9/broken').catch(() => {})</script>",
    "<script src='broken.js'></script>",
])
def test_a_visit_refuses(body: str, chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><link rel=icon href='data:,'>{body}")
    with pytest.raises(AssertionError, match="broken"), visits(chromium) as visit:
        visit(tmp_path / "page.html").wait_for_load_state()


def test_overflow_and_contrast_are_those_of_the_page(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<!doctype html><body style='margin: 0; background: #fff'><p style='color: #000; width: 400px'>black</p>"
        "<p style='background: #767676; color: #fff'>grey</p><p hidden>hidden</p>")
    with visits(chromium) as visit:
        page = visit(tmp_path / "page.html", viewport={"width": 320, "height": 200})
        assert overflow_px(page) == 80
        assert contrasts(page) == pytest.approx({"black": 21, "grey": 4.54}, abs=0.01)  # 4.54: WCAG's own example
