"""Pages in a headless Chromium: the system's own, driven by playwright, which downloads none.

A test marked `browser` takes `visit`, a function that opens a file. A page that logs an error or asks for anything but
itself fails the test, whatever else it does.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HAS_BROWSER = CHROMIUM is not None and find_spec("playwright") is not None
NO_BROWSER = "no Chromium, or no playwright"
OWN = ("data:", "blob:")  # what a page holds itself

Visit = Callable[..., "Page"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    with visits(chromium) as visit:
        yield visit


@contextmanager
def visits(chromium: Browser) -> Iterator[Visit]:
    """`visit(path, query="", folder=None, **context)` opens a file offline, its clock standing until the test moves it.

    It may ask for itself, and for what lies in `folder` where one is given. `context` is playwright's: viewport,
    color_scheme, reduced_motion ...
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def visit(path: Path, query: str = "", *, folder: Path | None = None, **settings: Any) -> Page:
        context = chromium.new_context(offline=True, **settings)
        contexts.append(context)
        page, address = context.new_page(), path.resolve().as_uri() + query
        own = address, *([folder.resolve().as_uri()] if folder else []), *OWN
        page.set_default_timeout(20_000)
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(own) else problems.append(asked.url))
        page.clock.install(time=0)
        page.goto(address)
        page.clock.pause_at(1000)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not problems, "\n".join(["a page logged errors, or asked for more than itself:", *problems])


def wait_for(page: Page, expression: str) -> None:
    """Until an expression is true; playwright's own way is an `eval`, which a page's policy may forbid."""
    for _ in range(1000):
        if page.evaluate(expression):
            return
        time.sleep(0.02)
    pytest.fail(f"20 s later it is still not true that {expression}")


def overflow_px(page: Page) -> int:
    """How far a page reaches beyond its window to the right."""
    overflow: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return overflow


def contrasts(page: Page) -> dict[str, float]:
    """By its text: WCAG's contrast of every visible piece of text to the nearest background behind it, 1 to 21."""
    return page.evaluate("""() => {
        const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
        const light = colour => numbers(colour).slice(0, 3).map(level => level / 255)
            .map(level => level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4)
            .reduce((sum, level, channel) => sum + [0.2126, 0.7152, 0.0722][channel] * level, 0);
        const behind = element => {
            for (; element; element = element.parentElement) {
                const colour = getComputedStyle(element).backgroundColor;
                if (numbers(colour)[3] !== 0) return colour;
            }
            return "rgb(255, 255, 255)";
        };
        const found = {}, texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const element = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
            if (!text || !element.checkVisibility()) continue;
            const [high, low] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
            found[text] = (high + 0.05) / (low + 0.05);
        }
        return found;
    }""")
