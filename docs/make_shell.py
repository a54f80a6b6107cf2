"""Fill in what docs/shell.md and the topics of `sgif help` have from the code and from the README:

    python docs/make_shell.py

The table of commands, the presets, the exit codes, and the layout of a run's folder. A test says where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sgif.bench.documents import fill_between
from sgif.cli.command import COMMON_CODES, EXIT_CODES
from sgif.cli.main import COMMANDS
from sgif.cli.options import presets_table
from sgif.cli.reference import commands, topics

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ROOT / "cli" / "topics"


def commands_table() -> str:
    """A row per command; the exit codes that all have are in the head."""
    rows = []
    for one in commands(COMMANDS):
        usage = one["usage"].splitlines()[0].replace("|", r"\|")
        own = ", ".join(str(code) for code in one["exit_codes"] if code not in COMMON_CODES)
        rows.append(f"| `{usage}` | {one['summary']} | {json_text(one)} | {own} |")
    common = ", ".join(map(str, COMMON_CODES))
    head = f"| command | does | `--json` prints | exit codes besides {common} |"
    return "\n".join([head, "|:--|:--|:--|:--|", *rows])


def json_text(command: dict[str, object]) -> str:
    """What the option's own help says of it."""
    options = command["options"]
    assert isinstance(options, list)
    (words,) = [one["help"] for one in options if "--json" in one["names"]] or [""]
    return str(words).removeprefix("print ")


def topics_list() -> str:
    return "\n".join(f"- [`{name}`](../cli/topics/{name}.md): {title}" for name, title in topics().items())


def exit_codes() -> str:
    """As a terminal shows it; Markdown takes it for code, as it does the next two."""
    return "\n".join(f"    {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())


def run_folder() -> str:
    """The README's, which a test compares with a real folder."""
    (block,) = re.findall(r"^A run is a folder:\n\n((?: {4}.*\n)+)", (ROOT / "README.md").read_text("utf-8"), re.M)
    return str(block).rstrip("\n")


def presets() -> str:
    return "\n".join(f"    {line}" for line in presets_table().splitlines())


def pages() -> Iterator[tuple[Path, str]]:
    """Every page that has something filled in, as it should be."""
    for path, parts in ((ROOT / "docs" / "shell.md", {"commands": commands_table, "topics": topics_list}),
                        (TOPICS / "presets.md", {"presets": presets}),
                        (TOPICS / "exit-codes.md", {"exit-codes": exit_codes}),
                        (TOPICS / "run-folder.md", {"layout": run_folder})):
        text = path.read_text(encoding="utf-8")
        for name, make in parts.items():
            text = fill_between(text, f"<!-- {name}:begin -->", f"<!-- {name}:end -->", make())
        yield path, text


def main() -> None:
    for path, text in pages():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
