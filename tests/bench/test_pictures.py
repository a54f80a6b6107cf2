import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from sgif.bench import pictures
from sgif.bench.pictures import legend_below, save_svg, small_multiples
from sgif.engine import RunError


def picture(values=(1, 4, 9)):
    with small_multiples(["forward", "backward"], title="Speed by size") as (figure, axes):
        for panel in axes:
            panel.plot([1, 10, 100], values, label="sgif")
            panel.plot([1, 10, 100], [3, 3, 3], label="plain")
            panel.set_xscale("log")
        legend_below(figure, axes)
    return save_svg(figure)


def test_the_same_figures_give_the_same_bytes():
    assert picture() == picture()
    assert picture() != picture((1, 4, 8))


def test_svg_has_its_text_as_text_each_name_once_and_no_date():
    root = ElementTree.fromstring(picture())
    said = ["".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [said.count(words) for words in ("Speed by size", "forward", "backward", "sgif", "plain")] == [1] * 5
    assert "Matplotlib" not in picture()
    assert "date" not in picture()


def test_style_ends_with_the_picture():
    before = dict(matplotlib.rcParams)
    picture()
    assert dict(matplotlib.rcParams) == before


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'sgif\[bench\]'"), small_multiples(["forward"]):
        pass
