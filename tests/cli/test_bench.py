import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sgif.bench import documents
from sgif.bench.result import load_result, write_result
from sgif.bench.suites import SUITES
from sgif.cli.bench import EXAMPLES
from sgif.cli.main import main

from ..fake_suite import BROKEN, FAKE, install, make_checkout


@pytest.fixture(autouse=True)
def _fakes(monkeypatch, tmp_path):
    install(monkeypatch, FAKE, replace(FAKE, name="other"))
    monkeypatch.chdir(tmp_path)


def said(capsys, *words, code=0):
    assert main(["bench", *words]) == code
    return capsys.readouterr()


def test_help_names_every_suite():
    assert all(f"\n  {suite.name:10} " in EXAMPLES for suite in SUITES)


def test_a_suite_tells_progress_and_prints_its_table_its_conditions_and_where_it_is(capsys):
    out, err = said(capsys, "fake", "--device", "cpu", "--dtype", "float32", "--cases", "paper")
    assert err.splitlines() == ["fake: fills", "case torch.float32"]
    found = load_result(Path("benchmarks/fake-cpu.json"))
    assert (found.suite, found.cases, found.device["threads"], len(found.rows)) == ("fake", "paper", 1, 1)
    assert found.command == "sgif bench fake --device cpu --dtype float32 --cases paper"
    lines = out.splitlines()
    assert lines[0] == "| fill | 0.5 |"
    assert lines[2].startswith(f"`{found.command}`. {found.device['cpu']}, ")
    assert lines[-2:] == ["benchmarks/fake-cpu.json", ""]


def test_all_is_every_suite_and_counters_time_nothing(capsys, tmp_path):
    said(capsys, "--counters", "-o", str(tmp_path / "here"), "--device", "cpu")
    for name in ("fake", "other"):
        found = load_result(tmp_path / "here" / f"{name}-cpu.json")
        assert found.command == f"sgif bench {name} --device cpu --counters"
        assert all(row.seconds is None and row.counters for row in found.rows)


def test_json_is_what_is_saved(capsys, tmp_path):
    out, _ = said(capsys, "all", "--json", "-o", ".")
    assert json.loads(out) == [json.loads((tmp_path / f"{name}-cpu.json").read_text()) for name in ("fake", "other")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_gpu_that_is_not_there_is_counted_and_not_timed(capsys, tmp_path):
    out, err = said(capsys, "fake", "--device", "cuda")
    assert err.splitlines()[-1] == "note: cuda is not there: counted and predicted, not measured"
    found = load_result(tmp_path / "benchmarks/fake-no-gpu.json")
    assert [row.seconds for row in found.rows] == [None, None]
    assert found.device["notes"] == ["cuda is not there: counted and predicted, not measured"]
    assert "no GPU; " in out


def test_a_suite_that_fails_costs_no_other_its_result(capsys, tmp_path, monkeypatch):
    install(monkeypatch, FAKE, BROKEN, replace(FAKE, name="other"))
    _, err = said(capsys, "all", code=2)
    assert "sgif: broken: two lines" in err.splitlines()
    assert {path.name for path in (tmp_path / "benchmarks").iterdir()} == {"fake-cpu.json", "other-cpu.json"}
    with pytest.raises(ValueError, match="two"):
        main(["bench", "broken", "--debug"])


def test_compare_prints_changes_and_ends_in_3_where_something_got_worse(capsys, tmp_path):
    for folder in ("a", "b"):
        said(capsys, "fake", "--counters", "-o", folder)
    assert "0 changes" in said(capsys, "compare", "a", "b").out
    found = load_result(tmp_path / "b/fake-cpu.json")
    worse = replace(found, rows=tuple(replace(row, counters={"launches": 4}) for row in found.rows))
    write_result(tmp_path / "b/fake-cpu.json", worse)
    out, _ = said(capsys, "compare", "a/fake-cpu.json", "b/fake-cpu.json", code=3)
    assert "| fill, torch.float32, small | sgif | launches | 3 | 4 | +33 % | **worse** |" in out.splitlines()
    said(capsys, "compare", "b", "a")
    comparison, = json.loads(said(capsys, "compare", "a", "b", "--json", code=3).out)
    assert comparison["regressions"] == 2


def test_compare_says_what_it_leaves_out(capsys):
    said(capsys, "all", "-o", "a")
    said(capsys, "fake", "-o", "b")
    assert said(capsys, "compare", "a", "b").err == "not compared: other-cpu.json is only in a\n"


def test_show_prints_a_saved_result(capsys):
    table = said(capsys, "fake").out.rsplit("\nbenchmarks/", 1)[0].strip()
    assert said(capsys, "show", "benchmarks/fake-cpu.json").out.strip() == table
    assert json.loads(said(capsys, "show", "benchmarks/fake-cpu.json", "--json").out)[0]["suite"] == "fake"


def test_document_writes_the_result_and_what_shows_it(capsys, tmp_path, monkeypatch):
    install(monkeypatch, FAKE)
    root = make_checkout(tmp_path / "checkout")
    monkeypatch.setattr(documents, "ROOT", root)
    out, _ = said(capsys, "fake", "--device", "cpu", "--document")
    assert (root / "bench/results/fake-cpu.json").is_file()
    changed = ["docs/images/bench-fake.svg", "docs/fake.md", "README.md"]
    assert out.splitlines()[-3:] == [str(root / name) for name in changed]
    assert "| fill | 0.5 |" in (root / "docs/fake.md").read_text()
    assert said(capsys, "document").out == ""  # nothing differs
    (root / "docs/fake.md").write_text("<!-- bench-fake:begin -->\n<!-- bench-fake:end -->\n")
    assert json.loads(said(capsys, "document", "--json").out) == [str(root / "docs/fake.md")]


@pytest.mark.parametrize(("words", "sentence"), [
    (("dance",), "there is no suite 'dance', expected fake, other or all"),
    (("fake", "file"), "fake takes no file, got file"),
    (("--dtype", "int8"), "dtype is 'int8', expected float32 or bfloat16, or both with a comma between"),
    (("--device", "tpu"), "device is 'tpu', expected auto, cpu, cuda or cuda:N"),
    (("compare", "a"), "compare takes two results or two folders of them, got 1"),
    (("show",), "show takes one result or more: which?"),
    (("show", "no.json"), "no.json is missing: expected a benchmark result"),
    (("document", "a"), "document takes no file, got a: it shows what is in bench/results"),
    (("--document", "-o", "a"), "--document writes to bench/results: leave --output out"),
    (("--document", "--counters"),
     "--document is for what was measured: leave --counters out, and name a device that is there"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_what_it_does_not_understand_is_one_sentence(words, sentence, capsys, tmp_path):
    assert said(capsys, *words, code=2).err == f"sgif: {sentence}\n"
    assert not list(tmp_path.iterdir())


def test_pictures_that_cannot_be_drawn_are_known_before_anything_is_measured(capsys, monkeypatch):
    monkeypatch.setattr("sgif.bench.pictures.find_spec", lambda name: None)
    assert said(capsys, "fake", "--document", code=2).err == (
        "sgif: pictures need matplotlib, which is not installed: pip install 'sgif[bench]'\n")


def test_an_installed_sgif_has_no_documents(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    assert "installed without one" in said(capsys, "fake", "--document", code=2).err
