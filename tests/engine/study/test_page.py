"""The page in a browser, from the introduction to the file that it saves; its clock is the test's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sgif.engine import score_study

from ...browser import Visit, contrasts, overflow_px, wait_for
from .conftest import Made

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def begin(page: Page) -> None:
    page.click("#start")
    wait_until_shown(page)


def wait_until_shown(page: Page) -> None:
    """Until the clip in turn is decoded, and plays or may be played."""
    wait_for(page, "clip !== null")


def watch(page: Page, ms: int = 5100) -> None:
    page.clock.run_for(ms)


def clip_shown(page: Page) -> str:
    clip: str = page.evaluate("clips[place].clip")
    return clip


def red(page: Page) -> int:
    """Of the canvas's middle; 0 where it is blank: no clip has a frame without red."""
    level: int = page.evaluate("""() => {
        const canvas = document.getElementById("canvas");
        return canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0];
    }""")
    return level


def enabled(page: Page, button: str) -> bool:
    return page.get_attribute(button, "aria-disabled") == "false"


def saved(page: Page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def answer_all(page: Page, judge: Callable[[str], str] = lambda clip: "r") -> None:
    begin(page)
    while page.is_visible("#ask"):
        watch(page)
        page.keyboard.press(judge(clip_shown(page)))
        wait_for(page, "clip !== null || !document.getElementById('end').hidden")


def test_a_visit_by_key_and_by_mouse_saves_a_file_that_scores_right(visit: Visit, made: Made, tmp_path: Path) -> None:
    page = visit(made.page)
    begin(page)
    order = []
    for place, act in enumerate((page.keyboard.press, page.click, page.keyboard.press, page.click)):
        assert page.text_content("#place") == f"{place + 1} of 4"
        order.append(clip_shown(page))
        watch(page)
        real = made.truth[order[-1]]
        act(("r" if real else "f") if place % 2 == 0 else ("#real" if real else "#fake"))
        wait_for(page, "clip !== null || !document.getElementById('end').hidden")
    path = saved(page, tmp_path)
    record = json.loads(path.read_text())
    assert [answer["clip"] for answer in record["answers"]] == order
    assert sorted(order) == sorted(made.truth)
    assert {(answer["plays"], answer["ms"]) for answer in record["answers"]} == {(1, 5100)}  # the test's own clock
    assert path.name == f"answers-{record['participant']}.json"
    score = score_study(made.key, [path])
    assert (score.real.judged_real, score.generated.judged_real, score.participants[0].accuracy) == (2, 0, 1.0)
    page.click("#copy")
    wait_for(page, "document.getElementById('saved').textContent === 'Copied.'")


def test_a_view_lasts_the_seconds_asked_for_and_then_asks(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    begin(page)
    watch(page, 4950)
    assert red(page) > 0
    assert page.text_content("#said") == ""
    watch(page, 100)
    assert red(page) == 0
    assert page.text_content("#said") == "Real or fake?"


def test_frames_last_as_long_as_in_the_file_and_start_again(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    begin(page)
    seen = []
    for ms in (60, 100, 200, 300):  # to 60, 160, 360 and, in the second round, 660 ms
        watch(page, ms)
        seen.append(red(page) - made.levels[clip_shown(page)])
    assert seen == [0, 50, 100, 0]


def test_nothing_is_answered_before_the_first_play_is_over(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    begin(page)
    watch(page, 2500)
    assert not enabled(page, "#real")
    for key in "rf":
        page.keyboard.press(key)
    page.click("#fake", force=True)
    assert page.evaluate("answers.length") == 0
    watch(page, 2600)
    assert enabled(page, "#real")
    page.keyboard.press("r")
    assert page.evaluate("answers.length") == 1


def test_a_clip_is_played_twice_at_most(visit: Visit, made: Made, tmp_path: Path) -> None:
    page = visit(made.page)
    begin(page)
    watch(page)
    assert page.text_content("#play") == "Play again (1 left)"
    page.keyboard.press("p")
    watch(page, 1000)
    assert red(page) > 0
    watch(page)
    assert page.text_content("#play") == "No plays left"
    assert not enabled(page, "#play")
    page.keyboard.press("p")
    page.click("#play", force=True)
    watch(page, 1000)
    assert red(page) == 0
    page.click("#real")
    wait_until_shown(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#stop")
    assert json.loads(saved(page, tmp_path).read_text())["answers"][0]["plays"] == 2


def test_the_second_play_may_be_cut_short_by_an_answer(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    begin(page)
    watch(page)
    page.click("#play")
    watch(page, 1000)
    page.keyboard.press("f")
    wait_until_shown(page)
    watch(page, 4900)
    assert page.text_content("#place") == "2 of 4"
    assert red(page) > 0, "the next clip's view was cut by the end of the one before it"


def test_a_held_key_answers_once(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    begin(page)
    watch(page)
    page.keyboard.down("r")
    wait_until_shown(page)
    watch(page)
    page.keyboard.down("r")  # again without an `up` between: a repeat
    assert page.evaluate("answers.length") == 1


def test_the_clock_stands_while_the_page_is_hidden(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    begin(page)
    watch(page, 1000)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.fast_forward(60_000)  # a browser draws no frames meanwhile
    watch(page, 3900)
    assert red(page) > 0
    watch(page, 200)
    assert page.text_content("#said") == "Real or fake?"


def test_who_stops_early_saves_what_there_is(visit: Visit, made: Made, tmp_path: Path) -> None:
    page = visit(made.page)
    begin(page)
    assert not page.is_visible("#stop"), "nothing is answered yet"
    watch(page)
    page.keyboard.press("f")
    wait_until_shown(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#stop")
    score = score_study(made.key, [saved(page, tmp_path)])
    assert (score.answers, score.participants[0].finished) == (1, False)


def order_of(page: Page) -> list[str]:
    order: list[str] = page.evaluate("clips.map(clip => clip.clip)")
    return order


def test_a_seed_in_the_address_decides_the_order(visit: Visit, made: Made) -> None:
    orders = [order_of(visit(made.page, f"?seed={seed}")) for seed in (0, 0, 1, 2, 3, 4, 5)]
    assert orders[0] == orders[1]
    assert all(sorted(order) == sorted(made.truth) for order in orders)
    assert len({tuple(order) for order in orders}) > 3


def test_visits_without_a_seed_differ(visit: Visit, made: Made) -> None:
    drawn = [visit(made.page).evaluate("[seed, participant]") for _ in range(2)]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_less_motion_means_that_nothing_starts_by_itself(visit: Visit, made: Made) -> None:
    page = visit(made.page, reduced_motion="reduce")
    assert page.is_visible("#calm")
    begin(page)
    watch(page, 1000)
    assert red(page) == 0
    page.click("#play")
    watch(page, 1000)
    assert red(page) > 0


def test_the_title_is_text(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    assert page.text_content("#intro h1") == page.title() == "Which <b>are</b> real? </script>"


def test_the_keyboard_alone_is_enough_and_keeps_its_place(visit: Visit, made: Made) -> None:
    page = visit(made.page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_until_shown(page)
    watch(page)
    page.focus("#fake")
    page.keyboard.press("Enter")
    wait_until_shown(page)
    watch(page)
    assert page.evaluate("document.activeElement.id") == "fake"
    page.keyboard.press("Enter")
    assert page.evaluate("answers.map(answer => answer.answer)") == ["fake", "fake"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_fits_a_phone_and_can_be_read(scheme: str, visit: Visit, made: Made) -> None:
    page = visit(made.page, color_scheme=scheme, viewport={"width": 320, "height": 568})
    screens: list[dict[str, Any]] = []

    def look() -> None:
        assert overflow_px(page) <= 0
        screens.append(contrasts(page))
    look()
    begin(page)
    look()
    watch(page)
    look()
    assert page.evaluate("document.documentElement.scrollHeight") <= 568, "all of a question is seen at once"
    page.keyboard.press("r")
    wait_until_shown(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#stop")
    page.click("summary")
    look()
    assert {"Start", "Real or fake?", "Real", "Save answers"} <= {text for screen in screens for text in screen}
    assert {text: ratio for screen in screens for text, ratio in screen.items() if ratio < 4.5} == {}
