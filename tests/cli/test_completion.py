"""`sgif completion`: the shells take what it prints, and complete commands, options and values by it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sgif.cli import completion
from sgif.cli.completion import FILES, FOLDERS, SHELLS, actions
from sgif.cli.main import COMMANDS, main, make_parser
from sgif.cli.reference import commands

pytest.importorskip("shtab", reason="the extra sgif[shell] is not installed")


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Path:
    """What is printed for the shell that the test names, in a file, in a folder with a run and a clip."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    assert main(["completion", shell]) == 0
    (tmp_path / f"sgif.{shell}").write_text(capsys.readouterr().out)
    (tmp_path / "runs").mkdir()
    (tmp_path / "clip.gif").touch()
    return tmp_path / f"sgif.{shell}"


def in_bash(script: Path, *lines: list[str]) -> list[set[str]]:
    """What bash offers for each of these lines, of which the last word is being typed."""
    program = [f"source {script.name}"]
    for words in lines:
        quoted = " ".join(f"'{word}'" for word in words)
        program.append(f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _shtab_sgif; "
                       'echo "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-c", "\n".join(program)], capture_output=True, text=True,
                          cwd=script.parent, check=True)
    assert done.stderr == ""
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_values_and_files(script: Path) -> None:
    assert in_bash(script, ["sgif", "tr"], ["sgif", "train", "--preset", ""], ["sgif", "study", "m"],
                   ["sgif", "reproduce", ""], ["sgif", "sample", ""], ["sgif", "train", "c"]) == [
        {"train"}, {"paper", "fast", "draft", "singan-all-frames"}, {"make"}, {"table1", "ablations", "quality"},
        {"runs"}, {"clip.gif"}]


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_every_option_of_every_command(script: Path) -> None:
    known = list(commands(COMMANDS))
    offered = in_bash(script, *(["sgif", *one["name"].split(), "--"] for one in known))
    for one, found in zip(known, offered, strict=True):
        long = {name for option in one["options"] for name in option["names"] if name.startswith("--")}
        assert found == long, one["name"]


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_and_values(script: Path) -> None:
    def offered(line: str) -> set[str]:
        done = subprocess.run(["fish", "--no-config", "-c", f"source {script.name}; complete -C '{line}'"],
                              capture_output=True, text=True, cwd=script.parent, check=True)
        return {row.split("\t")[0] for row in done.stdout.splitlines()}

    assert offered("sgif tr") == {"train"}
    assert offered("sgif train --preset ") == {"paper", "fast", "draft", "singan-all-frames"}


@pytest.mark.parametrize("script", ["bash", "zsh", "fish"], indirect=True)
def test_the_shell_finds_no_fault_in_it(script: Path) -> None:
    shell = script.suffix.removeprefix(".")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_all_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert all(command.name in printed for command in COMMANDS)


def test_every_value_that_stands_for_files_is_known() -> None:
    used = {str(action.metavar) for action in actions(make_parser())}
    assert used >= FILES | FOLDERS
    assert {name for name in used if name.isupper() and ("CLIP" in name or "RUN" in name)} <= FILES | FOLDERS


def test_without_shtab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(completion, "find_spec", lambda name: None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == ("sgif: completion needs the package shtab, which is not installed: "
                                       "pip install 'sgif[shell]'\n")
