import pytest

from sgif.cli.text import printable


@pytest.mark.parametrize(("text", "shown"), [
    ("a clip.gif", "a clip.gif"), ("мой клип 電影 🎬.gif", "мой клип 電影 🎬.gif"),
    ("\x1b[31mred\a", r"\x1b[31mred\x07"), ("two\nlines\r", r"two\nlines\r"), ("\0", r"\x00"),
    ("\u202egif.exe", r"\u202egif.exe"), ("\udcff", r"\udcff"),
])
def test_what_a_terminal_would_obey_is_spelt(text, shown):
    assert printable(text) == shown


def test_a_long_text_is_cut():
    assert printable("x" * 10_000_000, most=20) == "x" * 17 + "..."
    assert printable("\n" * 20, most=20) == r"\n" * 8 + r"\..."
