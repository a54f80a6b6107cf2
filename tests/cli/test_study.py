import json

import pytest
import torch

from sgif import engine
from sgif.cli.main import main
from sgif.engine import write_clip
from sgif.engine.limits import ReadLimits

from ..answers import answers_to


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two real clips and two generated ones, in the folder that the commands run in."""
    monkeypatch.chdir(tmp_path)
    for level, name in enumerate(("real/a.gif", "real/b.gif", "made/a.gif", "made/b.gif")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_clip(tmp_path / name, torch.full((2, 8, 8, 3), 40 * level, dtype=torch.uint8), 100)
    return tmp_path


@pytest.fixture
def answered(folder):
    """The folder with a study and three visitors' answers."""
    assert main(["study", "make", "--real", "real", "--generated", "made"]) == 0
    study = json.loads((folder / "study.key.json").read_text())
    (folder / "answers").mkdir()
    clips = {said["source"]: clip for clip, said in study["clips"].items()}
    for visitor, judged_real in enumerate((["real/a.gif", "made/a.gif"], ["real/a.gif", "made/a.gif"], ["real/b.gif"])):
        record = answers_to(study, [clips[source] for source in judged_real], visitor)
        (folder / "answers" / f"{visitor}.json").write_text(json.dumps(record))
    return folder


def test_make_prints_the_page_and_the_key(folder, capsys):
    assert main(["study", "make", "-o", "deep/s.html", "--real", "real/a.gif", "real/b.gif",
                 "--generated", "made"]) == 0
    assert capsys.readouterr().out == "deep/s.html\ndeep/s.key.json\n"
    clips = json.loads((folder / "deep/s.key.json").read_text())["clips"].values()
    assert {clip["source"]: clip["real"] for clip in clips} == {
        "real/a.gif": True, "real/b.gif": True, "made/a.gif": False, "made/b.gif": False}


def test_json_has_both_paths_and_the_notes(folder, capsys):
    assert main(["study", "make", "--real", "real", "--generated", "made", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["page"], made["key"], made["clips"]) == ("study.html", "study.key.json", 4)
    assert isinstance(made["notes"], list)


def test_only_what_is_given_is_asked_for(folder, monkeypatch):
    seen = []

    def make_study(*args, on_clip, limits, **asked):
        assert limits == ReadLimits()
        seen.append(asked)
        return engine.study.make.Study(page="p", key="k", clips=4, notes=())
    monkeypatch.setattr(engine, "make_study", make_study)
    main(["study", "make", "--real", "real", "--generated", "made"])
    main(["study", "make", "--real", "real", "--generated", "made", "--title", "T", "--seconds", "0.5", "--plays", "3",
          "--size", "30x40", "--seed", "9"])
    assert seen == [{}, {"title": "T", "seconds": 0.5, "plays": 3, "size": (30, 40), "seed": 9}]


@pytest.mark.parametrize(("option", "said"), [("--max-pixels", "63"), ("--max-frames", "1")])
def test_a_clip_beyond_the_limits_is_refused(option, said, folder, capsys):
    assert main(["study", "make", "--real", "real", "--generated", "made", option, said]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert option in error
    assert not (folder / "study.html").exists()


def test_what_was_changed_is_said(folder, capsys):
    main(["study", "make", "--real", "real", "--generated", "made", "--size", "4x4", "--seconds", "0.15"])
    assert capsys.readouterr().err == ""
    write_clip("made/a.gif", torch.full((2, 4, 4, 3), 200, dtype=torch.uint8), 100)
    main(["study", "make", "--real", "real", "--generated", "made", "-o", "other.html"])
    assert capsys.readouterr().err.startswith("note: all clips are cut and resized to 4x4")


def test_score_prints_the_figures(answered, capsys):
    capsys.readouterr()
    assert main(["study", "score", "study.key.json", "answers"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:5] == [
        "answers    12 by 3 participants, 3 per clip",
        "generated  1 of 2 judged real, 50.0 % (9.5 to 90.5 %)",
        "real       1 of 2 judged real, 50.0 % (9.5 to 90.5 %)",
        "agreement  Fleiss' kappa -0.03 (1: all agree, 0: as by chance)",
        "           by majority of a clip's votes, a tie counts as fake; 95 % intervals after Wilson",
    ]
    assert [line.split() for line in lines if line.lstrip().startswith("0000")] == [
        ["0000000000000000", "1", "of", "2", "1", "of", "2", "50"],
        ["0000000000000001", "1", "of", "2", "1", "of", "2", "50"],
        ["0000000000000002", "1", "of", "2", "2", "of", "2", "75"],
    ]


def test_json_has_everything(answered, capsys):
    capsys.readouterr()
    assert main(["study", "score", "study.key.json", "answers/0.json", "answers/2.json", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["generated"]["ties"] == 1
    assert {clip["source"]: clip["votes_real"] for clip in result["clips"]} == {
        "real/a.gif": 1, "real/b.gif": 1, "made/a.gif": 1, "made/b.gif": 0}
    assert [one["accuracy"] for one in result["participants"]] == [0.5, 0.75]


@pytest.mark.parametrize(("words", "said"), [
    (["make", "--real", "nothing.gif", "--generated", "made"], "sgif: nothing.gif does not exist"),
    (["make", "--real", "real", "--generated", "real"], "sgif: real/a.gif and real/a.gif show the same"),
    (["make", "--real", "real", "--generated", "made", "--seconds", "90"], "sgif: seconds is 90.0, expected"),
    (["score", "study.html", "answers"], "sgif: study.html is not valid JSON, expected the key of a study"),
    (["score", "study.key.json", "real"], "sgif: no answers in real"),
    (["score", "study.key.json", "study.key.json"], "sgif: study.key.json is another kind of file"),
])
def test_what_can_be_mended_is_one_line_and_exit_code_2(words, said, answered, capsys):
    capsys.readouterr()
    assert main(["study", *words, *["-o", "other.html"] * (words[0] == "make")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


@pytest.mark.parametrize("words", [[], ["paint"], ["make"], ["make", "--real", "a.gif"], ["score", "key"],
                                   ["make", "--real", "a", "--generated", "b", "--plays", "0"]])
def test_usage_errors_are_one_line(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["study", *words])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sgif study")
    assert f"(help: sgif study{''.join(f' {word}' for word in words[:1] if word != 'paint')} --help)" in line


@pytest.mark.parametrize("command", ["make", "score"])
def test_each_command_has_its_help_within_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main(["study", command, "--help"])
    page = capsys.readouterr().out
    assert page.startswith(f"usage: sgif study {command} ")
    assert max(map(len, page.splitlines())) <= 80
