"""Documents show the committed results, and nothing else."""

import pytest

from sgif.bench import suites
from sgif.bench.documents import RESULTS, ROOT, committed, contents, fill_between, refresh
from sgif.bench.result import write_result
from sgif.bench.suite import Suite

from ..fake_suite import FAKE, make_checkout, result_on

CPU = {"kind": "cpu"}
GPU = {"kind": "cuda", "gpu": "NVIDIA L4"}


@pytest.fixture
def root(tmp_path):
    return make_checkout(tmp_path)


def save(root, device, name):
    write_result(root / RESULTS / name, result_on(device))


def document(root):
    return (root / FAKE.document).read_text()


def test_what_was_not_measured_says_so(root):
    refresh([FAKE], root)
    assert document(root) == ("before\n<!-- bench-fake:begin -->\nOn a GPU: not yet measured.\n"
                              "<!-- bench-fake:end -->\nafter\n")


def test_the_cpu_comes_first_then_each_gpu_with_pictures_of_its_own(root):
    save(root, GPU, "fake-a-gpu.json")
    save(root, CPU, "fake-cpu.json")
    save(root, {"kind": "cuda", "gpu": "no GPU"}, "fake-no-gpu.json")
    (root / RESULTS / "fake-old.json").write_text('{"schema": 1}')
    refresh([FAKE], root)
    assert [result.device["kind"] for result in committed(FAKE, root)] == ["cpu", "cuda"]
    blocks = document(root).split("\n\n")
    assert [block.split("\n")[-1].split(";")[0] for block in blocks[1::2]] == [
        "`sgif bench fake`. Chip, 2 cores, 1 thread", "`sgif bench fake`. NVIDIA L4"]
    assert "![fills](../docs/images/bench-fake-nvidia-l4.svg)" in document(root)
    assert "not yet measured" not in document(root)
    assert {path.name for path in (root / "docs/images").iterdir()} == {"bench-fake.svg", "bench-fake-nvidia-l4.svg"}


def test_again_changes_nothing(root):
    save(root, CPU, "fake-cpu.json")
    assert [path.name for path in refresh([FAKE], root)] == ["bench-fake.svg", "fake.md", "README.md"]
    assert refresh([FAKE], root) == []


def test_two_suites_may_share_a_document(root):
    other = Suite(name="other", summary="", collect=FAKE.collect, table=FAKE.table, document=FAKE.document)
    with (root / FAKE.document).open("a") as file:
        file.write("<!-- bench-other:begin -->\n<!-- bench-other:end -->\n")
    refresh([FAKE, other], root)
    assert document(root).count("not yet measured") == 2


def test_a_document_without_markers_is_named(root):
    (root / FAKE.document).write_text("nothing")
    with pytest.raises(ValueError, match=r"docs/fake.md: expected one <!-- bench-fake:begin -->"):
        contents([FAKE], root)


@pytest.mark.parametrize("text", ["", "BEGIN", "END BEGIN", "BEGIN END BEGIN END"])
def test_text_without_one_pair_of_markers_is_refused(text):
    with pytest.raises(ValueError, match="expected one BEGIN and, after it, one END"):
        fill_between(text, "BEGIN", "END", "table")


# ---- What is committed -----------------------------------------------------------------------------------------------


COMMITTED = contents(suites.SUITES, ROOT)


@pytest.mark.parametrize("path", sorted(COMMITTED), ids=lambda path: path.name)
def test_committed_documents_and_pictures_are_those_of_the_committed_results(path):
    assert path.read_text(encoding="utf-8") == COMMITTED[path], "run `sgif bench document`"


def test_every_result_belongs_to_a_suite():
    for suite in suites.SUITES:
        for result in committed(suite, ROOT):
            assert result.suite == suite.name


def test_no_picture_is_left_behind():
    expected = {path.name for path in COMMITTED}
    assert {path.name for path in (ROOT / "docs/images").glob("bench-*.svg")} <= expected


def test_the_page_says_that_no_gpu_was_measured_as_long_as_none_was():
    kinds = {result.device["kind"] for suite in suites.SUITES for result in committed(suite, ROOT)}
    said = "No GPU has been measured yet" in (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert said == ("cuda" not in kinds)
