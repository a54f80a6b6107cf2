"""The README does what it says: its commands run, in reading order and small, and its links and figures are there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgif.bench import training_run
from sgif.cli import command, main, train

from .fake_suite import FAKE, install
from .scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RESULT = ROOT / "bench" / "results" / "demo-cpu.json"

# For the command line and for Python the same, so that one goes on with a run of the other.
SMALL = shlex.split("--iterations 2 --max-size 24 --min-size 8 --width 4 --frames-per-step 2:2 --no-fuse --threads 1")
SMALL_CONFIG = 'preset_config("draft", iterations=2, max_size_px=24, min_size_px=8, width=4, ' \
               "frames_per_step=(2, 2), fuse=False, threads=1)"
SMALLER = {"2160x3840": "108x192", "2000": "200"}  # samples that take minutes otherwise


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.S | re.M)


def commands() -> list[list[str]]:
    """The words of every command in the README's sh blocks, in reading order."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def make_targets(text: str) -> dict[str, str]:
    """Targets and their recipes."""
    return dict(re.findall(r"^([a-z]+):.*\n((?:\t.*\n)*)", text, flags=re.M))


def run(words: list[str]) -> None:
    """One command of the README in this process; training with SMALL after its own options, samples as in SMALLER."""
    match words:
        case ["make", "demo"]:
            for line in make_targets(MAKEFILE)["demo"].splitlines():
                if line.startswith("\t$(BIN)/"):
                    run(shlex.split(line.removeprefix("\t$(BIN)/")))
        case ["make", target, *_]:
            assert target in make_targets(MAKEFILE)
        case ["sgif", "train", *options]:
            assert main.main(["train", *options, *SMALL, "--quiet"]) == 0
        case ["sgif-train", *options]:
            assert train.main([*options, *SMALL, "--quiet"]) == 0
        case ["sgif", "profile", "--budget", _, *options]:
            assert main.main(["profile", "--budget", "0.7", *options, *SMALL, "--amp", "--checkpointing"]) == 0
        case ["sgif", "profile", *options]:
            assert main.main(["profile", *options, *SMALL, "--steps", "1"]) == 0
        case ["sgif", *options]:
            assert main.main([SMALLER.get(word, word) for word in options]) == 0
        case ["python", "-m", "sgif.bench.training_run", *options]:
            training_run.main(options)
        case ["python", "docs/make_pictures.py", *options]:
            load_script("make_pictures").main(options)
        case _:
            pytest.fail(f"this test does not know how to run: {shlex.join(words)}")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's commands read, after all of them have run in reading order."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "README.md").write_text(README, encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        install(monkeypatch, FAKE)  # `sgif bench` itself takes minutes
        monkeypatch.chdir(folder)
        for words in commands():
            run(words)
    return folder


def test_commands_make_what_they_say(checkout: Path) -> None:
    made = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    assert {f"runs/demo/samples/sample_seed0_00{i}.gif" for i in range(4)} <= made
    assert {"runs/clouds/samples/sample_seed0_007.gif", "runs/clouds/samples/sample_seed0_000.mp4"} <= made
    assert {f"profiles/clouds/{name}" for name in ("profile.json", "profile.svg", "trace.json")} <= made
    assert any(name.startswith("benchmarks/fake-") for name in made)
    assert {"bench/results/demo-cpu.json", "docs/images/demo.gif", "docs/images/sizes.gif"} <= made


def test_commands_fill_the_table_in(checkout: Path) -> None:
    result = training_run.read_result(checkout / "bench/results/demo-cpu.json", training_run.SCHEMA)
    assert training_run.markdown_table(result) in (checkout / "README.md").read_text(encoding="utf-8")


def test_run_folder_is_laid_out_as_described(checkout: Path) -> None:
    described = set(re.findall(r"^ {4}(\w+(?:\.\w+)?/?) ", README, flags=re.M)) - {"state.safetensors"}
    found = {path.name + "/" * path.is_dir() for path in (checkout / "runs/clouds").iterdir()}
    scales = {name for name in found if name.startswith("scale_")}
    assert found - scales == described - {"scale_00/"}
    names = {"generator.safetensors", "image_critic.safetensors", "video_critic.safetensors", "scale.json",
             "preview.gif"}
    for scale in scales:
        assert {path.name for path in (checkout / "runs/clouds" / scale).iterdir()} == names


@pytest.mark.parametrize("source", blocks("python"))
def test_python_example_runs(source: str, checkout: Path) -> None:
    small = source.replace('preset_config("draft")', SMALL_CONFIG).replace("frames=2000", "frames=200")
    assert small != source
    shapes = "assert videos.shape[:3] == (4, 3, 24)\nassert wide.shape == (1, 3, 12, 64, 160)\n"
    (checkout / "example.py").write_text(small + shapes, encoding="utf-8")
    done = subprocess.run([sys.executable, "example.py"], cwd=checkout, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert (checkout / "wide.gif").is_file()


def test_make_targets_exist() -> None:
    mentioned = {words[1] for words in commands() if words[0] == "make"}
    mentioned |= set(re.findall(r"`make ([a-z]+)", README))
    assert {"demo", "test"} <= mentioned <= make_targets(MAKEFILE).keys()


def test_exit_codes_are_those_of_the_command_line() -> None:
    (sentence,) = re.findall(r"\*\*Exit codes\.\*\*(.*?)\n\n", README, flags=re.S)
    assert set(map(int, re.findall(r"\b\d+\b", sentence))) == set(command.EXIT_CODES)
    assert (128 + signal.SIGINT, 128 + signal.SIGTERM) == (command.INTERRUPTED, command.TERMINATED)


def links() -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", README)
    yield from re.findall(r'(?:src|href)="([^"]+)"', README)


@pytest.mark.parametrize("link", sorted({link for link in links() if "://" not in link}))
def test_link_resolves(link: str) -> None:
    path, _, anchor = link.partition("#")
    assert not path.startswith("/")
    assert (ROOT / path).exists()
    if anchor:
        titles = re.findall(r"^#+ (.*)", (ROOT / path).read_text(encoding="utf-8") if path else README, flags=re.M)
        assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_results_table_is_that_of_the_committed_figures() -> None:
    between = README.split(training_run.BEGIN)[1].split(training_run.END)[0].strip()
    if not RESULT.exists():
        assert between == "", "figures without the file they come from"
        pytest.skip(f"{RESULT.relative_to(ROOT)} is not there: nothing has been measured")
    assert between == training_run.markdown_table(training_run.read_result(RESULT, training_run.SCHEMA))
