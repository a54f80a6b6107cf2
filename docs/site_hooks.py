"""What mkdocs does not do by itself: the README is the site's first page, and links lead out of `docs/`.

On GitHub a page links to sources and results beside `docs/`. In the site such a file is copied to its place, so that
the link is whole without a network; a link to a folder becomes its text, since a site has no folders to show. The
reference gets its table of settings here, from the settings.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from sgif.engine.config import PRESETS, TrainConfig, preset_config

PAGES = {"README.md": "index.md", "examples/README.md": "examples.md", "CONTRIBUTING.md": "contributing.md",
         "CHANGELOG.md": "changelog.md"}
DOCS = "docs"
LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\[\]]*\]\([^()]*\))*\])\(([^()\s]+)\)")  # its text may hold a picture
SETTINGS = "<!-- settings -->"
CODE = re.compile(r"^(`{3,}).*?^\1\s*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(root / source).read_text(encoding="utf-8")))
    for file in list(files.documentation_pages()):
        for path in linked_files(file.content_string, folder_of(file.src_uri), root):
            if files.get_file_from_path(path) is None:
                files.append(File(path, str(root), config.site_dir, use_directory_urls=False,
                                  inclusion=InclusionLevel.INCLUDED))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    whole = markdown.replace(SETTINGS, settings_table()) if SETTINGS in markdown else markdown
    return relink(whole, folder_of(page.file.src_uri), Path(config.config_file_path).parent)


def folder_of(page: str) -> str:
    """The folder, from the checkout's root, that a page's links start from."""
    sources = {site: source for source, site in PAGES.items()}
    return posixpath.dirname(sources[page]) if page in sources else DOCS


def linked_files(markdown: str, folder: str, root: Path) -> list[str]:
    """Files outside `docs/` that a page links to, from the root."""
    targets = (target_of(link[2], folder)[0] for link in LINK.finditer(CODE.sub("", markdown)))
    return sorted({path for path in targets if path and site_path(path) == path and (root / path).is_file()})


def relink(markdown: str, folder: str, root: Path) -> str:
    """`markdown` with links as they are in the site, where `docs/` is the root and `PAGES` have other names."""
    def replaced(link: re.Match[str]) -> str:
        text, target = LINK.sub(replaced, link[1]), link[2]
        path, anchor = target_of(target, folder)
        if not path:
            return f"{text}({target})"
        return text[1:-1] if (root / path).is_dir() else f"{text}({site_path(path)}{anchor})"

    return LINK.sub(replaced, markdown)


def target_of(target: str, folder: str) -> tuple[str, str]:
    """The path of a link from the root, "" of one that is no path in the checkout, and its anchor."""
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:|/", path):
        return "", ""
    return posixpath.normpath(posixpath.join(folder, path)), mark + anchor


def site_path(path: str) -> str:
    return PAGES.get(path) or path.removeprefix(f"{DOCS}/")


def settings_table() -> str:
    """Every setting of a training with its value under each preset."""
    presets = {name: preset_config(name) for name in PRESETS}
    lines = [f"| setting | {' | '.join(map(code, presets))} | |", f"|---|{'---|' * len(presets)}---|"]
    for field in dataclasses.fields(TrainConfig)[1:]:  # without `preset` itself
        values = [code(getattr(config, field.name)) for config in presets.values()]
        lines.append(f"| {code(field.name)} | {' | '.join(values)} | {field.metadata['doc']} |")
    return "\n".join(lines)


def code(value: object) -> str:
    return f"`{f'{value:.4g}' if isinstance(value, float) else value}`"
