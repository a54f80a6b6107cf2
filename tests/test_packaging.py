"""What is installed and what would be published: names, versions, files."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("kernels", "engine", "bench", "cli")
NOT_SOURCES = (".git", ".venv", ".typing", "runs", "benchmarks", "build", "dist", "*.egg-info", "__pycache__",
               ".*_cache")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist built from a copy of the tree, and the wheel built from that sdist; offline."""
    source, out = tmp_path_factory.mktemp("source") / "sgif", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCES))  # a build leaves files in its tree
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.fixture(scope="module")
def wheel_files(dist: Path) -> set[str]:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist_files(dist: Path) -> set[str]:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}


def test_installed_version_is_the_one_the_sources_build(dist: Path) -> None:
    assert [path.name for path in dist.glob("*.whl")] == [f"sgif-{metadata.version('sgif')}-py3-none-any.whl"]


@pytest.mark.parametrize("name", ["sgif", "sgif-train"])
def test_console_script_is_callable(name: str) -> None:
    (script,) = [entry for entry in metadata.distribution("sgif").entry_points if entry.name == name]
    assert callable(script.load())


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_holds_every_source_of(package: str, wheel_files: set[str]) -> None:
    sources = {f"sgif/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / package).rglob("*.py")}
    assert sources | {f"sgif/{package}/py.typed"} <= wheel_files


def test_wheel_holds_the_templates_of_pages(wheel_files: set[str]) -> None:
    templates = {f"sgif/{path.relative_to(ROOT).as_posix()}" for suffix in ("html", "css", "js")
                 for layer in ("engine", "bench") for path in (ROOT / layer).rglob(f"*.{suffix}")}
    assert len(templates) == 9
    assert templates <= wheel_files


def test_wheel_holds_the_topics_of_help(wheel_files: set[str]) -> None:
    topics = {f"sgif/cli/topics/{path.name}" for path in (ROOT / "cli" / "topics").iterdir()}
    assert topics
    assert topics <= wheel_files


def test_wheel_holds_nothing_else(wheel_files: set[str]) -> None:
    version = metadata.version("sgif")
    allowed = (f"sgif-{version}.dist-info/", *(f"sgif/{package}/" for package in PACKAGES))
    assert [name for name in sorted(wheel_files) if not name.startswith(allowed)] == []
    assert not any(name.startswith("sgif/__init__") for name in wheel_files)


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "Makefile", "tests/conftest.py", "examples/clouds.gif"])
def test_sdist_holds(name: str, sdist_files: set[str]) -> None:
    assert name in sdist_files


def test_constraints_pin_every_direct_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.split("#")[0]) for line in lines if line and not line.startswith("#")]
    assert {pin.name for pin in pins} == {Requirement(line).name for line in metadata.requires("sgif") or []}
    assert all(str(pin.specifier).startswith("==") for pin in pins)


def test_the_citation_is_of_this_version_and_of_the_paper_that_the_readme_cites() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == metadata.version("sgif")
    paper = citation["preferred-citation"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("{", "").replace("}", "")
    assert f"title     = {paper['title']}" in readme
    assert " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]) in readme
    assert f"year      = {paper['year']}" in readme
