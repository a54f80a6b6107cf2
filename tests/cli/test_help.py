import re
import subprocess
import sys
import typing

import pytest

from sgif.cli.main import COMMANDS, main
from sgif.cli.options import BY_PRESET
from sgif.engine.config import CHOICES
from sgif.engine.wording import FIELDS, as_typed, option_name


def help_text(capsys, monkeypatch, *words, columns=100):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("name", FIELDS)
def test_help_tells_every_setting_with_its_default(name, capsys, monkeypatch):
    page = " ".join(help_text(capsys, monkeypatch, "train").split())
    field = FIELDS[name]
    default = "by preset" if name in BY_PRESET else as_typed(name, field.default)
    expected = "fast with a GPU, draft on a CPU" if name == "preset" else default
    choices = "".join(f"; {', '.join(typing.get_args(CHOICES[name]))}" if name in CHOICES else "")
    assert f"{field.metadata['doc']}{choices} [{expected}]" in page
    option = option_name(name)
    invocation = option.replace("--", "--[no-]") if isinstance(field.default, bool) else \
        f"{option} {field.metadata['metavar'] or ''}".strip()
    assert f" {invocation} " in page


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_fits_the_terminal(command, columns, capsys, monkeypatch):
    page = help_text(capsys, monkeypatch, command.name, columns=columns)
    assert max(map(len, page.splitlines())) <= columns


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_of_every_command_is_explained(command, capsys, monkeypatch):
    page = help_text(capsys, monkeypatch, command.name)
    for line in re.findall(r"^  -\S.*$", page, re.MULTILINE):
        assert re.search(r"\S  +\S", line) or len(line) >= 24, line


def test_the_list_of_commands_has_a_line_for_each(capsys, monkeypatch):
    page = help_text(capsys, monkeypatch)
    for command in COMMANDS:
        assert re.search(rf"^    {command.name} +{re.escape(command.summary)}$", page, re.MULTILINE)


@pytest.mark.parametrize("words", [["train", "--help"], ["sample", "--help"], ["train"], ["info", "--what"]])
def test_help_and_usage_errors_load_neither_torch_nor_numpy(words):
    program = (
        "import sys\nfrom sgif.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'av'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
