import json

import pytest

from sgif import engine
from sgif.cli.main import main
from sgif.engine.verify import Check


@pytest.fixture
def checks(monkeypatch):
    """What `verify_run` finds; the calls for it are its attribute `asked`."""
    found = [Check(what="clip.safetensors", ok=True, found="fine"), Check(what="scale_00", ok=True, found="31 dB")]

    def verify_run(path, device=None):
        monkeypatch.setattr(engine, "asked", (str(path), device), raising=False)
        return iter(found)
    monkeypatch.setattr(engine, "verify_run", verify_run)
    return found


def test_a_whole_run_is_a_line_each_and_exit_code_0(checks, capsys):
    assert main(["verify", "run", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [["ok", "clip.safetensors", "fine"],
                                                           ["ok", "scale_00", "31", "dB"]]
    assert err == ""
    assert engine.asked == ("run", "cpu")


def test_what_is_wrong_is_marked_and_exit_code_2(checks, capsys):
    checks[1] = Check(what="scale_00", ok=False, found="another \x1b[31m\nclip")
    assert main(["verify", "run"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split() == ["BAD", "scale_00", "another", r"\x1b[31m\nclip"]
    assert err == "sgif: 1 of the above is wrong, see BAD: get the run again or train anew\n"


def test_json_is_a_line_per_check(checks, capsys):
    checks[1] = Check(what="scale_00", ok=False, found="another clip")
    assert main(["verify", "run", "--json"]) == 2
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"what": "clip.safetensors", "ok": True, "found": "fine"},
        {"what": "scale_00", "ok": False, "found": "another clip"}]


def test_what_is_no_run_is_one_sentence(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr() == ("", f"sgif: {tmp_path} is not a run folder (no config.json); expected one that "
                                       "'sgif train' wrote\n")
