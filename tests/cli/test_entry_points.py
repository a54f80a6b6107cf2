import subprocess
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version

import pytest

from sgif.cli import main as sgif
from sgif.cli import train as sgif_train


@pytest.mark.parametrize(("module", "said"), [
    ("sgif.cli", "usage: sgif COMMAND"),
    ("sgif.cli.main", "usage: sgif COMMAND"),
    ("sgif.cli.train", "usage: sgif-train CLIP"),
])
def test_modules_run_as_programs(module, said):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said)
    assert done.stderr == ""


def test_sgif_train_is_the_door_of_sgif_train(trains):
    assert sgif.main(["train", "a.gif", "--iterations", "3", "--quiet"]) == 0
    assert sgif_train.main(["a.gif", "--iterations", "3", "--quiet"]) == 0
    assert trains[0] == trains[1]


def test_the_installed_scripts_point_here():
    scripts = {entry.name: entry for entry in entry_points(group="console_scripts") if entry.value.startswith("sgif.")}
    if not scripts:
        pytest.skip("sgif is on the path but not installed")
    assert scripts["sgif"].load() is sgif.main
    assert scripts["sgif-train"].load() is sgif_train.main


def test_version_is_the_installed_one(capsys):
    with pytest.raises(SystemExit, match="0"):
        sgif.main(["--version"])
    try:
        expected = version("sgif")
    except PackageNotFoundError:
        expected = "(not installed)"
    assert capsys.readouterr().out == f"sgif {expected}\n"
