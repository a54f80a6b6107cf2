"""Philox noise: known answers, its distribution, and that it depends on the place and on nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.kernels import resample_triton
from sgif.kernels.dispatch import jit, tl
from sgif.kernels.philox import PhiloxNoise, _philox_words, philox_normal, philox_words
from sgif.kernels.resample import scaled_noise, upsample_add_noise

from .compare import DEVICE, label, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

SHAPES = [(2, 3, 5, 4, 7), (1, 3, 1, 3, 5), (1, 1, 2, 1, 1), (1, 6, 4, 2, 3), (2, 4, 9, 1, 3)]
KINDS: list[dict[str, Any]] = [{}, {"maps": 1}, {"maps": None, "stream": 2}, {"gray": True, "first_frame": 8},
                               {"maps": 1, "gray": True, "stream": 16}]
"""What fits a shape is passed on: maps None stands for all channels."""
EVERY_BIT = 2**63 - 1


def noise(seed: int = 1234567890123456789, channels: int = 3, **kind: Any) -> PhiloxNoise:
    if kind.get("maps", 0) is None:
        kind["maps"] = channels
    return PhiloxNoise(seed=torch.tensor(seed, device=DEVICE), **kind)


# Salmon et al.: kat_vectors of Random123, philox4x32 with 10 rounds.
@pytest.mark.parametrize(("counter", "key", "words"), [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, -1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822,
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])
def test_words_are_the_published_ones(counter: tuple[int, ...], key: int, words: tuple[int, ...]) -> None:
    assert tuple(int(word) for word in philox_words(torch.tensor(key), *counter)) == words


@jit
def _words_kernel(seed_ptr, counter_ptr, words_ptr, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    a, b, c, d = _philox_words(tl.load(seed_ptr), tl.load(counter_ptr + offs), tl.load(counter_ptr + BLOCK + offs),
                               tl.load(counter_ptr + 2 * BLOCK + offs), tl.load(counter_ptr + 3 * BLOCK + offs))
    tl.store(words_ptr + offs, a.to(tl.int64))
    tl.store(words_ptr + BLOCK + offs, b.to(tl.int64))
    tl.store(words_ptr + 2 * BLOCK + offs, c.to(tl.int64))
    tl.store(words_ptr + 3 * BLOCK + offs, d.to(tl.int64))


@pytest.mark.parametrize("seed", [0, -1, EVERY_BIT, 1 << 32, 0x299F31D0A4093822])
def test_both_forms_give_the_same_words(seed: int) -> None:
    counter = torch.randint(-2**31, 2**31, (4, 64), generator=torch.Generator().manual_seed(0)).int().to(DEVICE)
    counter[:, :2] = torch.tensor([[0, -1]], device=DEVICE)
    key = torch.tensor(seed, device=DEVICE)
    words = torch.empty(4, 64, dtype=torch.int64, device=DEVICE)
    _words_kernel[(1,)](key, counter, words, BLOCK=64)
    assert torch.equal(words, torch.stack(philox_words(key, *counter)))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=label)
def test_both_forms_give_the_same_normals(shape: tuple[int, ...], kind: dict[str, Any]) -> None:
    if shape[1] > 4 and kind == {"maps": 1}:
        pytest.skip("of more than four channels all or none are maps")
    description = noise(channels=shape[1], **kind)
    drawn = scaled_noise(shape, description, 1.0, impl="triton")  # type: ignore[arg-type]
    expected = philox_normal(description, shape)
    assert drawn.shape == expected.shape == shape
    # A few steps of float32 at 4; the polynomials err by 2e-7 relative to the radius.
    torch.testing.assert_close(drawn, expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_noise_by_hand(impl: str) -> None:
    """One number of a volume and one of a map from their words, as the docstring says."""
    def normals(*counter: int) -> list[float]:
        a, b, c, d = (word.double() for word in philox_words(noise().seed, *counter))
        result = []
        for first, second in ((a, b), (c, d)):
            radius = (-2 * ((first + 0.5) / 2**32).log()).sqrt()
            lower = torch.where(second >= 2**31, second - 2**31, second)
            angle = torch.where(lower >= 2**30, lower - 2**31, lower) * torch.pi / 2**31
            result += [float(radius * angle.cos() * (1 if second < 2**31 else -1)), float(radius * angle.sin())]
        return result

    n, c, t, y, x = 1, 2, 6, 3, 4
    place = (y * 7 + x, t // 4, n * 3 + c, 5)
    volume = scaled_noise((2, 3, 9, 5, 7), noise(stream=5), 1.0, impl=impl)  # type: ignore[arg-type]
    assert float(volume[n, c, t, y, x]) == pytest.approx(normals(*place)[t % 4], abs=1e-6)
    place = (y * 7 + x, 2**32 - 1, n, 5)
    maps = scaled_noise((2, 3, 9, 5, 7), noise(maps=3, stream=5), 1.0, impl=impl)  # type: ignore[arg-type]
    assert float(maps[n, c, t, y, x]) == pytest.approx(normals(*place)[c], abs=1e-6)


# ---- it depends on the place alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS[1:], ids=str)
def test_tiles_do_not_matter(kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x, size = random(1, 3, 5, 3, 4).to(DEVICE), (5, 7)
    planned = resample_triton.launch_of

    def draw(block: int, warps: int) -> Tensor:
        def launch(*args: Any, **kwargs: Any) -> resample_triton.Launch:
            plan = planned(*args, **kwargs)
            return plan._replace(grid=(-(-35 // block), *plan.grid[1:]), block=block, warps=warps)
        monkeypatch.setattr(resample_triton, "launch_of", launch)
        return upsample_add_noise(x, size, noise(**kind), 0.7, impl="triton")

    assert torch.equal(draw(16, 1), draw(64, 2))


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_a_longer_clip_and_a_larger_batch_begin_alike(kind: dict[str, Any], impl: str) -> None:
    def draw(n: int, t: int) -> Tensor:
        return scaled_noise((n, 3, t, 3, 5), noise(**kind), 1.0, impl=impl)  # type: ignore[arg-type]
    assert torch.equal(draw(2, 9)[:1, :, :3], draw(1, 3))


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("maps", [0, 1])
def test_a_part_of_a_clip_has_its_noise(maps: int, gray: bool, impl: str) -> None:
    def draw(first_frame: int, t: int) -> Tensor:
        description = noise(maps=maps, gray=gray, first_frame=first_frame)
        return scaled_noise((2, 3, t, 3, 5), description, 1.0, impl=impl)  # type: ignore[arg-type]
    assert torch.equal(draw(0, 13)[:, :, 8:], draw(8, 5))


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("maps", [0, 1, 3])
@pytest.mark.parametrize("change", ["seed", "high half of the seed", "stream"])
def test_another_seed_or_stream_gives_other_noise(change: str, maps: int, impl: str) -> None:
    def draw(seed: int = 1, stream: int = 1) -> Tensor:
        return scaled_noise((1, 3, 4, 3, 5), noise(seed, maps=maps, stream=stream), 1.0, impl=impl)  # type: ignore[arg-type]
    other = {"seed": draw(seed=2), "high half of the seed": draw(seed=1 + 2**32), "stream": draw(stream=2)}[change]
    assert torch.equal(draw(), draw())
    assert bool((draw() != other).all())


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    philox_normal(noise(maps=1), (1, 3, 2, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())


# ---- its distribution ------------------------------------------------------------------------------------------------
# Bounds are five standard deviations of the estimate. The seeds are fixed: these tests pass always or never.

LARGE = (2, 3, 8, 80, 96)


@pytest.fixture(scope="module")
def volume() -> Tensor:
    return philox_normal(noise(), LARGE).double()


@pytest.mark.parametrize(("power", "expected", "variance"),
                         [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)])
def test_moments_are_those_of_a_normal(volume: Tensor, power: int, expected: float, variance: float) -> None:
    error = (variance / volume.numel()) ** 0.5
    assert float(volume.pow(power).mean()) == pytest.approx(expected, abs=5 * error)
    for t in range(4):  # each of the four normals of a counter
        part = volume[:, :, t::4]
        assert float(part.pow(power).mean()) == pytest.approx(expected, abs=5 * (variance / part.numel()) ** 0.5)


def test_distribution_function_is_the_normal_one(volume: Tensor) -> None:
    """Kolmogorov-Smirnov: beyond 1.95 / sqrt(n) with probability 0.001."""
    cdf = torch.special.ndtr(volume.flatten().sort().values)
    count = cdf.numel()
    steps = torch.arange(count + 1, dtype=torch.float64, device=cdf.device) / count
    distance = torch.maximum((steps[1:] - cdf).max(), (cdf - steps[:-1]).max())
    assert float(distance) < 1.95 / count**0.5


def test_tails_are_as_frequent_as_a_normal_ones(volume: Tensor) -> None:
    for bound, probability in ((3.0, 2.6998e-3), (4.0, 6.3342e-5)):
        expected = probability * volume.numel()
        assert abs(int((volume.abs() > bound).sum()) - expected) < 5 * expected**0.5


NEIGHBOURS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "samples": lambda z: (z[0], z[1]), "channels": lambda z: (z[:, :-1], z[:, 1:]),
    "frames": lambda z: (z[:, :, :-1], z[:, :, 1:]), "frames of the same lane": lambda z: (z[:, :, :4], z[:, :, 4:]),
    "rows": lambda z: (z[..., :-1, :], z[..., 1:, :]), "columns": lambda z: (z[..., :-1], z[..., 1:])}


@pytest.mark.parametrize("of", ["values", "squares"])
@pytest.mark.parametrize("axis", NEIGHBOURS)
def test_neighbours_are_independent(volume: Tensor, axis: str, of: str) -> None:
    a, b = NEIGHBOURS[axis](volume if of == "values" else (volume.square() - 1) / 2**0.5)
    assert abs(float((a * b).mean())) < 5 / a.numel() ** 0.5


@pytest.mark.parametrize("change", [{"seed": 8}, {"seed": 7 + 2**32}, {"stream": 1}], ids=str)
def test_seeds_and_streams_are_independent(change: dict[str, int]) -> None:
    a, b = (philox_normal(noise(**kind), LARGE) for kind in ({"seed": 7}, {"seed": 7} | change))
    assert abs(float((a * b).mean())) < 5 / a.numel() ** 0.5


@pytest.mark.parametrize(("maps", "gray"), [(0, False), (1, False), (2, False), (3, False), (0, True), (1, True)])
def test_maps_are_common_to_all_frames_and_nothing_else_is(maps: int, gray: bool) -> None:
    z = philox_normal(noise(maps=maps, gray=gray), LARGE)
    error = 5 * (2 / z[:, 0, 0].numel()) ** 0.5
    for channel in range(3):
        is_map = maps == 1 if gray else channel < maps
        for a, b in ((0, 0), (0, 1), (1, 6)):
            assert float((z[:, channel, a] * z[:, channel, b]).mean()) == \
                pytest.approx(float(a == b or is_map), abs=error)
    assert float((z[:, 0] * z[:, 1]).mean()) == pytest.approx(float(gray), abs=error)
    assert abs(float((z[0] * z[1]).mean())) < error


# ---- at the door -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "value", "message"), [
    ("seed", torch.tensor(1, dtype=torch.int32), "expected one int64"), ("seed", torch.arange(2), "expected one int64"),
    ("maps", -1, "expected 0 or more"), ("first_frame", 6, "expected a multiple of 4"),
    ("first_frame", -4, "expected a multiple of 4"), ("stream", -1, "expected 0 to 2"),
    ("stream", 2**31, "expected 0 to 2")])
def test_a_description_of_nothing_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(noise(), **{field: value})


@pytest.mark.parametrize(("kind", "channels", "message"), [
    ({"maps": 2}, 1, "expected no more"), ({"maps": 2, "gray": True}, 3, "expected no more"),
    ({"maps": 2}, 6, "expected 0 or all")])
@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_maps_that_do_not_fit_the_clip_are_refused(kind: dict[str, Any], channels: int, message: str,
                                                   impl: Any) -> None:
    with pytest.raises(ValueError, match=message):
        scaled_noise((1, channels, 2, 3, 4), noise(**kind), 1.0, impl=impl)
