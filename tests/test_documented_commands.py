"""What documents and help topics say of the command line is so: every command parses, every option exists, every exit
code is one, and what is filled in from the code is up to date."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgif.cli.command import COMMON_CODES, DONE, EXIT_CODES
from sgif.cli.main import COMMANDS, make_parser
from sgif.cli.reference import commands, topics

from .scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"),
                *(ROOT / "cli" / "topics").glob("*.md")])
KNOWN = list(commands(COMMANDS))
OPTIONS = {command["name"]: {name for one in command["options"] for name in one["names"]} for command in KNOWN}
OPTIONS["--help"] = OPTIONS["--version"] = set()  # of sgif itself
GROUPS = {name.split()[0] for name in OPTIONS if " " in name}
OTHER_PROGRAMS = {"--logdir": "tensorboard", "--update": "tests.tools.kernel_table", "--readme": "training_run",
                  "--command": "training_run", "--leakyrelu": "measure_sensitivity", "--benchmark-only": "pytest",
                  "--nproc-per-node": "torchrun", "--standalone": "torchrun", "--head": "ray"}


def code_lines(text: str) -> Iterator[str]:
    """Lines that begin with sgif, of sh blocks and of indented code; there what it does may stand behind spaces."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    yield from (line for line in lines if line.startswith("sgif "))
    yield from (re.split(r" {3,}", line)[0] for line in re.findall(r"^ {4}(sgif .*)", text, flags=re.M))


def spans(text: str) -> Iterator[str]:
    """Code within a line that begins with sgif."""
    without_blocks = re.sub(r"^```.*?^```|^ {4}[^\n]*$", "", text, flags=re.S | re.M)
    yield from (span.replace("\n", " ").replace(r"\|", "|")
                for span in re.findall(r"`(sgif [^`]+)`", without_blocks))


def name_of(words: list[str]) -> str:
    return " ".join(words[:2 if words and words[0] in GROUPS else 1])


def words_of(line: str) -> list[str]:
    """The words after `sgif`, up to what the shell would do with them."""
    words = shlex.split(line, comments=True)[1:]
    ends = [place for place, word in enumerate(words) if word in ("|", "&&", ">")]
    return words[:ends[0]] if ends else words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_code_parses(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in code_lines(page.read_text(encoding="utf-8")):
        assert parses(line), f"{line}: {capsys.readouterr().err}"


def parses(line: str) -> bool:
    try:
        make_parser().parse_args(words_of(line))
    except SystemExit as ended:
        return ended.code == DONE  # --help
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_within_a_sentence_has_the_options_it_names(page: Path) -> None:
    for span in spans(page.read_text(encoding="utf-8")):
        words = re.sub(r"[\[\](),;]", " ", span.removeprefix("sgif ")).split()
        name = name_of(words)
        choices = name.split("|")  # `sgif reproduce table1|ablations`
        assert all(choice in OPTIONS or choice in GROUPS for choice in choices), span
        named = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help", "--version"}
        assert named <= set().union(*(OPTIONS.get(choice, set()) for choice in choices)), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text(encoding="utf-8")))
    assert named - set(OTHER_PROGRAMS) <= set().union(*OPTIONS.values(), {"--version"})


def test_these_rules_find_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    text = "```sh\nsgif sample RUN --number 2   # fine\nsgif sample RUN --amount 2 | less\n```\n\n" \
           "    sgif fly RUN    away\n\nand `sgif info RUN\n--deep`."
    lines = list(code_lines(text))
    assert [words_of(line) for line in lines] == [["sample", "RUN", "--number", "2"],
                                                  ["sample", "RUN", "--amount", "2"], ["fly", "RUN"]]
    assert [parses(line) for line in lines] == [True, False, False]
    assert list(spans(text)) == ["sgif info RUN --deep"]
    assert "--deep" not in OPTIONS["info"]
    capsys.readouterr()


def test_there_is_something_to_check() -> None:
    found = [line for page in PAGES for line in code_lines(page.read_text(encoding="utf-8"))]
    assert {name_of(words_of(line)) for line in found} >= set(OPTIONS) - {"completion", "--help", "--version"}
    assert len([span for page in PAGES for span in spans(page.read_text(encoding="utf-8"))]) > 30


def test_what_is_filled_in_is_up_to_date() -> None:
    script = load_script("make_shell")
    stale = [path.name for path, text in script.pages() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "python docs/make_shell.py"


@pytest.mark.parametrize("command", KNOWN, ids=lambda command: command["name"])
def test_every_command_answers_as_json(command: dict[str, object]) -> None:
    assert command["json"] or command["name"] == "completion", "whose output is a program for a shell"


def test_a_code_that_only_some_commands_end_in_is_named_where_their_modules_use_it() -> None:
    using = {path.stem for path in (ROOT / "cli").glob("*.py") if re.search(r"\breturn REGRESSION\b", path.read_text())}
    declared = {command["name"] for command in KNOWN if set(command["exit_codes"]) - set(COMMON_CODES)}
    assert using == declared == {"bench"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_exit_code_that_is_named_is_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"exit code (\d+)", text)} <= set(EXIT_CODES)


def test_the_exit_codes_are_told_in_full() -> None:
    text = (ROOT / "docs" / "shell.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"^## Exit codes\n\n(.*?)\n\n", text, flags=re.S | re.M)
    assert set(map(int, re.findall(r"(?<![\w.])\d+", paragraph))) == set(EXIT_CODES)


@pytest.mark.parametrize("topic", topics())
def test_a_topic_fits_a_terminal_and_its_code_is_its_own(topic: str) -> None:
    text = (ROOT / "cli" / "topics" / f"{topic}.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert ": " in text.splitlines()[0]
    written = re.sub(r"^<!-- (\S+):begin -->.*^<!-- \1:end -->", "", text, flags=re.S | re.M)
    assert max(map(len, written.splitlines())) <= 82
    for named in re.findall(r"\bdocs/\w+\.md", text):
        assert (ROOT / named).is_file()
    for other in re.findall(r"sgif\s+help\s+([a-z][a-z-]+)", text):
        assert other in topics()
