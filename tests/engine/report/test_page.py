"""The page in a browser; its clock is the test's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sgif.engine import make_report

from ...browser import Visit, contrasts, overflow_px, wait_for
from .conftest import MakeRun, clips_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

FRAME_MS, FRAMES = 80, 6  # of the tiny run's clip


@pytest.fixture
def page(visit: Visit, tiny_page: Path) -> Page:
    """The report of the tiny run, standing at its first frame."""
    return opened(visit, tiny_page, reduced_motion="reduce")


def opened(visit: Visit, path: Path, **settings: Any) -> Page:
    """The page once its clips are decoded."""
    page = visit(path, **settings)
    wait_for(page, "lead !== null")
    return page


def frames_shown(page: Page) -> set[int]:
    """The frames that the canvases show."""
    return set(page.evaluate("screens.map(screen => screen.shown)"))


def press(page: Page, key: str) -> set[int]:
    page.keyboard.press(key)
    return frames_shown(page)


def test_all_clips_play_in_step_and_start_again(visit: Visit, tiny_page: Path) -> None:
    page = opened(visit, tiny_page)
    assert page.get_attribute("#play", "aria-label") == "Pause", "it plays by itself"
    seen = []
    for _ in range(2 * FRAMES + 1):
        page.clock.run_for(FRAME_MS)
        seen.append(frames_shown(page))
        assert page.text_content("#frame") == f"{max(seen[-1]) + 1} of {FRAMES}"
    assert all(len(frames) == 1 for frames in seen), "all show the same frame"
    order = [frame for (frame,) in seen]
    assert order == [(order[0] + n) % FRAMES for n in range(2 * FRAMES + 1)]


def test_pause_stops_it_and_play_goes_on(visit: Visit, tiny_page: Path) -> None:
    page = opened(visit, tiny_page)
    page.clock.run_for(2.5 * FRAME_MS)
    page.click("#play")
    before = frames_shown(page)
    page.clock.run_for(1000)
    assert frames_shown(page) == before
    page.click("#play")
    page.clock.run_for(FRAME_MS)
    assert frames_shown(page) == {(max(before) + 1) % FRAMES}


def test_less_motion_means_that_nothing_plays_by_itself(page: Page) -> None:
    page.clock.run_for(1000)
    assert frames_shown(page) == {0}
    assert page.get_attribute("#play", "aria-label") == "Play"
    page.click("#play")
    page.clock.run_for(2.5 * FRAME_MS)
    assert frames_shown(page) == {2}


def test_steps_go_a_frame_on_and_back_and_around_both_ends(page: Page) -> None:
    seen = [press(page, key) for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft",
                                         "ArrowRight", "ArrowRight", "ArrowRight")]
    assert seen == [{1}, {2}, {1}, {0}, {5}, {4}, {5}, {0}, {1}]
    page.click("#step")
    assert frames_shown(page) == {2}
    page.click("#back")
    assert frames_shown(page) == {1}


def test_a_step_pauses_and_starts_at_the_frame_s_beginning(visit: Visit, tiny_page: Path) -> None:
    page = opened(visit, tiny_page)
    page.clock.run_for(2.5 * FRAME_MS)
    (at,) = frames_shown(page)
    before = (at - 1) % FRAMES
    assert press(page, "ArrowLeft") == {before}
    page.clock.run_for(1000)
    assert frames_shown(page) == {before}
    assert page.evaluate("clock % length(lead)") == before * FRAME_MS


def test_the_canvases_show_the_frames_of_the_file(page: Page, tiny_page: Path) -> None:
    clips = clips_in(tiny_page)
    page.keyboard.press("ArrowRight")
    pixels = page.evaluate("""() => screens.map(({canvas, brush, name, cell}) =>
        [name, cell, canvas.width, Array.from(brush.getImageData(0, 0, canvas.width, canvas.height).data)])""")
    assert len(pixels) == 6 + 4 * 3
    for name, cell, width, data in pixels:
        frame = clips[name][1][1, :, cell * width:(cell + 1) * width]
        shown = [level for place, level in enumerate(data) if place % 4 < 3]
        assert shown == frame.flatten().tolist(), (name, cell)


def test_keys_play_and_change_the_speed_within_its_bounds(page: Page) -> None:
    page.keyboard.press(" ")
    page.clock.run_for(50)  # the first tick only sets the watch
    start = page.evaluate("clock")
    elapsed = []
    for keys in ("f", "f", "ss", "sss"):
        for key in keys:
            page.keyboard.press(key)
        page.clock.run_for(400)
        elapsed.append(page.evaluate("clock") - start)
        start += elapsed[-1]
    assert elapsed == pytest.approx([800, 800, 200, 50], abs=40)  # a tick lasts 16 ms
    page.keyboard.press(" ")
    page.clock.run_for(400)
    assert page.evaluate("clock") == start


def test_a_key_that_a_control_has_itself_is_left_to_it(page: Page) -> None:
    page.focus("#play")
    page.keyboard.press(" ")
    assert page.evaluate("playing"), "by the button alone: twice would be a pause"
    page.keyboard.press(" ")
    page.focus("#speed")
    page.keyboard.press("ArrowRight")
    assert frames_shown(page) == {0}
    page.focus("#place")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("clock") > 0, "the slider's own step"


def test_the_slider_moves_all_clips(page: Page) -> None:
    page.locator("#place").fill("250")
    assert frames_shown(page) == {3}
    page.locator("#place").fill(str(FRAMES * FRAME_MS))
    assert frames_shown(page) == {FRAMES - 1}
    assert page.get_attribute("#place", "aria-valuetext") == "frame 6 of 6"


def test_the_clock_stands_while_the_page_is_hidden(visit: Visit, tiny_page: Path) -> None:
    page = opened(visit, tiny_page)
    page.clock.run_for(100)
    before = page.evaluate("clock")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.fast_forward(60_000)  # a browser draws no frames meanwhile
    assert page.evaluate("clock") - before < 50


def test_clips_of_other_lengths_and_rates_play_by_one_clock(visit: Visit, changed_run: MakeRun, tmp_path: Path) -> None:
    runs = [changed_run("even"), changed_run("uneven", frame_ms=[50, 150, 100, 100, 100, 100])]
    page = opened(visit, make_report([run.path for run in runs], tmp_path / "both.html").path, reduced_motion="reduce")
    assert page.text_content("#frame") == "1 of 6"
    starts = []
    for _ in range(9):
        page.keyboard.press("ArrowRight")
        starts.append(page.evaluate("clock"))
    assert starts == [50, 80, 160, 200, 240, 300, 320, 400, 480]
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert page.evaluate("clock") == 240
    shown = page.evaluate("Object.fromEntries(screens.map(screen => [screen.name, screen.shown]))")
    assert {shown[f"0-{place}"] for place in range(4)} == {3}
    assert {shown[f"1-{place}"] for place in range(4)} == {2}


def test_slow_motion_steps_by_the_frames_that_were_made(visit: Visit, clip: Any, tiny_config: Any,
                                                       tmp_path: Path) -> None:
    from sgif.engine import train

    run = train(clip, tmp_path / "slow", tiny_config(slow_motion=2, iterations=1))
    page = opened(visit, run.path / "report.html", reduced_motion="reduce")
    assert page.text_content("#frame") == "1 of 12"
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    shown = page.evaluate("screens.slice(0, 6).map(screen => screen.shown)")
    assert shown == [1, 3, 3, 3, 3, 3]


def test_a_hostile_name_is_only_read(visit: Visit, changed_run: MakeRun) -> None:
    name = "<script>alert(1)</script><img src=x onerror=alert(2)>.gif"
    run = changed_run("run", source=name, notes=[f"{{{{ 7 * 7 }}}} {name}"])
    page = visit(make_report([run.path]).path)
    page.on("dialog", lambda dialog: pytest.fail(f"the page ran {dialog.message}"))
    wait_for(page, "lead !== null")
    page.clock.run_for(200)
    assert f"{{{{ 7 * 7 }}}} {name}" in (page.text_content("main") or "")
    assert page.evaluate("document.images.length") == 0


def test_a_partial_run_plays_what_there_is(visit: Visit, changed_run: MakeRun) -> None:
    page = opened(visit, make_report([changed_run("run", 1).path]).path)
    page.clock.run_for(2.5 * FRAME_MS)
    assert len(frames_shown(page)) == 1
    assert page.locator("canvas").count() == 6 + 4
    assert page.is_visible("text=Not finished: 1 of 3 scales are trained.")


def test_clips_that_cannot_be_decoded_are_told(visit: Visit, tiny_page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(tiny_page.read_text().replace("image/webp", "image/x").replace("UklGR", "AAAAA"))
    page = visit(broken)
    wait_for(page, "!document.getElementById('failed').hidden")
    assert page.is_hidden("#player")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("runs", [1, 3])
def test_it_fits_a_phone_and_can_be_read(runs: int, scheme: str, visit: Visit, tiny_page: Path, changed_run: MakeRun,
                                         tmp_path: Path) -> None:
    path = tiny_page
    if runs > 1:
        path = make_report([changed_run("a" * 60 + str(n), n + 1).path for n in range(runs)], tmp_path / "r.html").path
    page = opened(visit, path, color_scheme=scheme, viewport={"width": 320, "height": 568})
    assert overflow_px(page) <= 0
    assert min(contrasts(page).values()) >= 4.5


def test_everything_has_a_name_for_who_does_not_see_it(page: Page) -> None:
    unnamed = page.evaluate("""() => Array.from(document.querySelectorAll("canvas, svg, button, input, select"))
        .filter(element => !element.ariaLabel && element.ariaHidden !== "true").length""")
    assert unnamed == 0
    names = page.evaluate("screens.map(({canvas}) => canvas.ariaLabel)")
    assert len(set(names)) == len(names)


def test_in_print_there_are_the_clips_and_no_player(page: Page) -> None:
    page.emulate_media(media="print")
    assert page.is_hidden("#player")
    assert page.locator("canvas").first.is_visible()
    assert min(contrasts(page).values()) >= 4.5
