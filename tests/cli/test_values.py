from argparse import ArgumentTypeError

import pytest

from sgif.cli import values
from sgif.engine.config import ALL_SCALES


@pytest.mark.parametrize(("parse", "text", "expected"), [
    (values.frame_range, "16:8", (16, 8)),
    (values.count_or_range, "600:150", (600, 150)),
    (values.count_or_range, "400", (400, 400)),
    (values.scale_count, "4", 4),
    (values.scale_count, "all", ALL_SCALES),
    (values.size, "90x160", (90, 160)),
    (values.size, "90X160", (90, 160)),
    (values.factors, "1.5x1", (1.5, 1.0)),
    (values.factors, "2", (2.0, 2.0)),
    (values.factors, ".5x1.", (0.5, 1.0)),
    (values.crop, "0,40,90x160", (0, 40, 90, 160)),
    (values.whole, "-3", -3),
    (values.number, "5e-4", 5e-4),
])
def test_a_value_is_read_as_written(parse, text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(("parse", "text"), [
    *((values.frame_range, text) for text in ("16", "16:8:4", "16-8", "a:b", "-1:2", "")),
    *((values.count_or_range, text) for text in ("16:8:4", "16-8", "many", "8:", "-1", "")),
    *((values.scale_count, text) for text in ("-1", "some", "1.5", "")),
    *((values.size, text) for text in ("90", "90x", "0x160", "90x160x3", "-9x16", "9.5x16", "٣x٤")),
    *((values.factors, text) for text in ("0", "1x0", "x2", "2x", "-1", "1e3", "nan", "inf", "")),
    *((values.crop, text) for text in ("0,40", "0,40,90", "0,40,0x9", "-1,0,9x9", "90x160+0+40")),
    *((values.positive, text) for text in ("0", "-1", "1.5", "many")),
    (values.non_negative, "-1"),
    (values.number, "much"),
])
def test_another_form_is_refused_and_quoted(parse, text):
    with pytest.raises(ArgumentTypeError) as refusal:
        parse(text)
    assert repr(text) in str(refusal.value) or repr(text[:1]) in str(refusal.value)
