"""Pages are filled in: what is put in is text, and data cannot end its element."""

from __future__ import annotations

import json
import re
import struct

from sgif.engine.pages.frames import packed
from sgif.engine.pages.render import render


def test_values_are_escaped_and_data_stays_in_its_element() -> None:
    hostile = "</script><script>alert(1)</script>&\udcff"
    page = render("engine/study/page.html", title=hostile, frame_format="png", study={"name": hostile}).decode()
    assert "<script>alert" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page
    (data,) = re.findall(r'id="study">(.*?)</script>', page, flags=re.S)
    assert json.loads(data) == {"name": hostile}


def test_packed_frames_have_their_durations_and_lengths_in_front() -> None:
    assert packed([b"ab", b"c"], [70, 80]) == struct.pack("<5I", 2, 70, 2, 80, 1) + b"abc"
