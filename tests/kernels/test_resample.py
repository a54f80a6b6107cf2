"""Resizing, and what is fused with it, against formulas written out, by hand where the array is small."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from sgif.kernels import resize, upsample, upsample_add_noise, upsample_tanh_residual
from sgif.kernels.philox import PhiloxNoise
from sgif.kernels.resample import scaled_noise
from sgif.kernels.resample_tables import ResampleMode
from sgif.kernels.resample_triton import launch_of

from .compare import DEVICE, LAYOUTS, Calculation, Results, assert_matches, label, leaf, random

pytestmark = pytest.mark.usefixtures("poisoned_empty")

Resample = Callable[[Tensor, tuple[int, int]], Tensor]
Size = tuple[int, int]
SIZES = [(6, 8), (5, 7), (7, 6), (3, 4), (1, 1), (2, 9), (4, 5)]  # from 4x5: larger, smaller, mixed, the same
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
IMPLS = [("torch", torch.float32), ("torch", torch.float64), *(("triton", dtype) for dtype in TRITON_DTYPES)]
# Every dtype once, every layout once.
each_form = pytest.mark.parametrize(("impl", "dtype", "layout"), [
    *((*impl, "contiguous") for impl in IMPLS),
    *((impl, torch.float32, layout) for impl in ("torch", "triton") for layout in list(LAYOUTS)[1:])], ids=label)
each_mode = pytest.mark.parametrize("mode", ["bilinear", "bicubic"])


def resampling_matrix(size_in: int, size_out: int, mode: str, dtype: torch.dtype) -> Tensor:
    """[size_out, size_in]; the centre of pixel i lies at (i + 0.5) size_in / size_out - 0.5, and what is beyond the
    border is the border pixel."""
    at = ((torch.arange(size_out, dtype=dtype) + 0.5) * size_in / size_out - 0.5)[:, None]
    index = torch.arange(-2 * size_in - 4, 3 * size_in + 4)
    distance = (at - index).abs()
    if mode == "bilinear":
        weights = (1 - distance).clamp_min(0)
    else:
        a = -0.75
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0 * far))
    return torch.zeros(size_out, size_in, dtype=dtype).index_add_(1, index.clamp(0, size_in - 1), weights)


def formula(x: Tensor, size: Size, mode: str = "bilinear") -> Tensor:
    rows, columns = (resampling_matrix(*pair, mode, x.dtype).to(x.device)
                     for pair in zip(x.shape[-2:], size, strict=True))
    return torch.einsum("ih,ncthw,jw->nctij", rows, x, columns)


def with_gradient(resample: Resample, size: Size) -> Calculation:
    """y, dx, and what comes of dy when the gradient is differentiated again."""
    def run(x: Tensor, dy: Tensor, v: Tensor) -> Results:
        x, dy = leaf(x), leaf(dy)
        y = resample(x, size)
        dx, = torch.autograd.grad(y, x, dy, create_graph=True)
        return {"y": y.detach(), "dx": dx.detach(), "ddy": torch.autograd.grad(dx, dy, v)[0]}
    return run


def check_upsample(shape: tuple[int, ...], size: Size, mode: ResampleMode, impl: Any, dtype: torch.dtype,
                   layout: str) -> None:
    inputs = (random(*dimensions, dtype=dtype, seed=seed).to(DEVICE)
              for seed, dimensions in enumerate((shape, (*shape[:3], *size), shape)))
    assert_matches(with_gradient(partial(upsample, mode=mode, impl=impl), size),
                   with_gradient(partial(formula, mode=mode), size),
                   [LAYOUTS[layout](x) for x in inputs], multilinear=True)


@each_form
def test_upsample_and_its_gradients_match_the_formula_in_any_layout(impl: str, dtype: torch.dtype, layout: str) -> None:
    check_upsample((2, 3, 2, 4, 5), (6, 7), "bilinear", impl, dtype, layout)


# ATen's bicubic in float32 errs by more than the formula in float32 does: its float64 is compared.
@pytest.mark.parametrize(("impl", "dtype", "mode"), [
    ("torch", torch.float32, "bilinear"), ("torch", torch.float64, "bicubic"),
    ("triton", torch.float32, "bilinear"), ("triton", torch.float32, "bicubic")], ids=label)
@pytest.mark.parametrize("size", SIZES, ids=label)
def test_upsample_and_its_gradients_match_the_formula_at_any_size(size: Size, impl: str, dtype: torch.dtype,
                                                                  mode: ResampleMode) -> None:
    check_upsample((1, 3, 2, 4, 5), size, mode, impl, dtype, "contiguous")


@each_mode
@pytest.mark.parametrize(("small", "size"), [((1, 1), (4, 5)), ((1, 3), (5, 2)), ((3, 2), (26, 3)), ((9, 40), (2, 3))],
                         ids=label)
def test_one_pixel_and_more_taps_than_are_unrolled_match_the_formula(small: Size, size: Size,
                                                                     mode: ResampleMode) -> None:
    x, dy, v = (random(1, 2, 1, *s, seed=i).to(DEVICE) for i, s in enumerate((small, size, small)))
    assert_matches(with_gradient(partial(upsample, mode=mode, impl="triton"), size),
                   with_gradient(partial(formula, mode=mode), size), (x, dy, v), multilinear=True)


@pytest.fixture
def four_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four frames per program, which small clips are not given."""
    monkeypatch.setattr("sgif.kernels.resample_triton.launch_of",
                        lambda *args, **_: launch_of(*args, noise_in_fours=True))


CHANNELS_AND_FRAMES = pytest.mark.parametrize("shape", [(1, 1, 3), (1, 2, 5), (2, 6, 1)], ids=label)


@pytest.mark.usefixtures("four_frames")
@CHANNELS_AND_FRAMES
def test_four_frames_per_program_and_any_number_of_channels_match_the_formula(shape: tuple[int, ...]) -> None:
    check_upsample((*shape, 4, 5), (6, 7), "bilinear", "triton", torch.float32, "contiguous")


def line(*values: float) -> Tensor:
    """A clip of one row."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, 1, -1)


# Keys' cubic with a = -1/2 at the distances 1/4, 3/4 and 5/4 is 111/128, 29/128 and -9/128. Where the row ends the
# weights that are left are scaled to add up to one.
@pytest.mark.parametrize(("values", "expected"), [
    ((0.0, 1.0), (-9 / 102, 29 / 140, 111 / 140, 111 / 102)),  # twice as wide
    ((1.0, 0.0, 0.0, 0.0), (111 / 242, -9 / 242)),  # half as wide: the same weights, spread by two
    ((0.0, 1.0, 0.0, 0.0), (111 / 242, 29 / 242)),
    ((0.0, 0.0, 1.0, 0.0), (29 / 242, 111 / 242)),
    ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))])
def test_resize_of_a_row_is_the_antialiased_cubic_by_hand(values: tuple[float, ...],
                                                          expected: tuple[float, ...]) -> None:
    x, y = line(*values), line(*expected)
    torch.testing.assert_close(resize(x, (1, len(expected))), y)
    # Two columns: torch 2.13 reads an antialiased image of one column wrongly.
    x, y = (t.mT.repeat(1, 1, 1, 1, 2) for t in (x, y))
    torch.testing.assert_close(resize(x, (len(expected), 2)), y)


@pytest.mark.parametrize(("values", "expected"), [
    ((0.0, 4.0), (0.0, 1.0, 3.0, 4.0)), ((0.0, 4.0, 8.0, 12.0), (2.0, 10.0)), ((5.0,), (5.0, 5.0, 5.0))])
def test_upsample_of_a_row_by_hand(values: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert torch.equal(upsample(line(*values), (1, len(expected))), line(*expected))
    assert torch.equal(upsample(line(*values).mT, (len(expected), 1)), line(*expected).mT)


@pytest.mark.parametrize("resample", [resize, upsample])
@pytest.mark.parametrize("size", SIZES, ids=label)
def test_a_constant_stays_constant(resample: Resample, size: Size) -> None:
    y = resample(torch.full((1, 3, 2, 4, 5), 0.7), size)
    torch.testing.assert_close(y, torch.full((1, 3, 2, *size), 0.7))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_keeps_the_mean(factor: int) -> None:
    """Each pixel weighs the same, away from the border: on white noise the rest is a small part of its deviation."""
    x = random(1, 3, 2, 24 * factor, 24 * factor)
    assert (resize(x, (24, 24)).mean() - x.mean()).abs() < 0.01 * x.std()


def test_shrinking_is_antialiased() -> None:
    checkerboard = (torch.arange(24)[:, None] + torch.arange(24)).remainder(2).mul(2.0).sub(1)[None, None, None]
    inner = resize(checkerboard, (8, 8))[..., 2:-2, 2:-2]
    assert inner.abs().max() < 0.05


@pytest.mark.parametrize("resample", [resize, upsample])
@pytest.mark.parametrize("size", SIZES, ids=label)
def test_frames_do_not_see_each_other(resample: Resample, size: Size) -> None:
    x = random(2, 3, 5, 4, 5)
    y = resample(x, size)
    assert y.shape == (2, 3, 5, *size)
    for t in range(5):
        assert torch.equal(y[:, :, t:t + 1], resample(x[:, :, t:t + 1], size))


@pytest.mark.parametrize("resample", [resize, upsample])
def test_the_same_size_is_the_same_tensor(resample: Resample) -> None:
    x = random(1, 3, 2, 4, 5)
    assert resample(x, (4, 5)) is x


@pytest.mark.parametrize("noise_shape", [(2, 3, 4, 7, 9), (2, 1, 4, 7, 9), (2, 3, 1, 7, 9), (2, 1, 1, 7, 9)], ids=label)
@pytest.mark.parametrize("amplitude", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
def test_upsample_add_noise_is_two_lines_of_torch(noise_shape: tuple[int, ...], amplitude: float | Tensor) -> None:
    x, noise = random(2, 3, 4, 5, 6), random(*noise_shape, seed=1)
    assert torch.equal(upsample_add_noise(x, (7, 9), noise, amplitude), upsample(x, (7, 9)) + amplitude * noise)


def test_upsample_add_noise_without_noise_only_upsamples() -> None:
    x = random(2, 3, 4, 5, 6)
    assert torch.equal(upsample_add_noise(x, (7, 9), None, 0.1), upsample(x, (7, 9)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=label)
def test_upsample_tanh_residual_is_two_lines_of_torch_in_the_dtype_of_the_clip(dtype: torch.dtype) -> None:
    x, residual = random(2, 3, 4, 5, 6), random(2, 3, 4, 7, 9, dtype=dtype, seed=1)
    y = upsample_tanh_residual(x, (7, 9), residual)
    assert y.dtype == torch.float32
    assert torch.equal(y, upsample(x, (7, 9)) + torch.tanh(residual.float()))


# ---- noise -----------------------------------------------------------------------------------------------------------


Sum = Callable[[Tensor, Size, Tensor, Tensor], Tensor]


def sum_by_formula(x: Tensor, size: Size, noise: Tensor, amplitude: Tensor) -> Tensor:
    return formula(x, size) + amplitude.view(-1, 1, 1, 1, 1) * noise


def sum_with_gradients(add: Sum, size: Size) -> Calculation:
    def run(x: Tensor, noise: Tensor, amplitude: Tensor, dy: Tensor, v: Tensor) -> Results:
        inputs = leaf(x), leaf(noise), leaf(amplitude)
        dy = leaf(dy)
        y = add(inputs[0], size, *inputs[1:])
        dx, dnoise, damplitude = torch.autograd.grad(y, inputs, dy, create_graph=True)
        ddy, ddamplitude = torch.autograd.grad(dnoise, (dy, inputs[2]), v)
        return {"y": y.detach(), "dx": dx.detach(), "dnoise": dnoise.detach(), "damplitude": damplitude.detach(),
                "ddy": ddy, "damplitude of dnoise": ddamplitude}
    return run


@each_form
@pytest.mark.parametrize(("noise_shape", "amplitudes"),
                         [((2, 3, 2, 5, 7), 2), ((2, 1, 2, 5, 7), 1), ((1, 3, 1, 5, 7), 2)], ids=label)
def test_added_noise_and_its_gradients_match_the_formula(noise_shape: tuple[int, ...], amplitudes: int, impl: Any,
                                                         dtype: torch.dtype, layout: str) -> None:
    arrange = LAYOUTS[layout]
    x, noise, dy, v = (random(*shape, dtype=dtype, seed=seed).to(DEVICE) for seed, shape in
                       enumerate(((2, 3, 2, 4, 5), noise_shape, (2, 3, 2, 5, 7), noise_shape)))
    amplitude = random(amplitudes, dtype=dtype, seed=5).to(DEVICE)
    assert_matches(sum_with_gradients(partial(upsample_add_noise, impl=impl), (5, 7)),
                   sum_with_gradients(sum_by_formula, (5, 7)),
                   (arrange(x), arrange(noise), amplitude, arrange(dy), arrange(v)), multilinear=True, terms=dy.numel())


@pytest.mark.parametrize("amplitude", [0.5, torch.tensor(0.5), torch.tensor([0.5]), torch.tensor([0.5, 0.5])],
                         ids=["number", "scalar", "one", "per sample"])
@pytest.mark.parametrize("drawn", [False, True])
def test_every_form_of_an_amplitude_is_the_same(amplitude: float | Tensor, drawn: bool) -> None:
    x = random(2, 3, 2, 4, 5).to(DEVICE)
    noise = PhiloxNoise(seed=torch.tensor(5, device=DEVICE)) if drawn else random(2, 3, 2, 5, 7, seed=1).to(DEVICE)
    amplitude = amplitude.to(DEVICE) if isinstance(amplitude, Tensor) else amplitude
    results = [upsample_add_noise(x, (5, 7), noise, a, impl=impl)  # type: ignore[arg-type]
               for impl in ("torch", "triton") for a in (amplitude, 0.5)]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[2], results[3])
    torch.testing.assert_close(results[0], results[2], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("maps", [0, 1, 3])
def test_a_sample_of_amplitude_zero_is_only_upsampled(maps: int, impl: Any) -> None:
    """Training stacks a random clip and the reconstruction, which gets none."""
    x, noise = random(2, 3, 2, 4, 5).to(DEVICE), PhiloxNoise(seed=torch.tensor(5, device=DEVICE), maps=maps)
    y = upsample_add_noise(x, (5, 7), noise, torch.tensor([0.5, 0.0], device=DEVICE), impl=impl)
    up = upsample(x, (5, 7), impl=impl)
    assert torch.equal(y[1], up[1])
    drawn = scaled_noise((1, 3, 2, 5, 7), noise, 0.5, impl=impl)
    torch.testing.assert_close(y[0], up[0] + drawn[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_the_gradient_of_an_amplitude_of_drawn_noise_is_the_noise(impl: Any) -> None:
    noise = PhiloxNoise(seed=torch.tensor(5, device=DEVICE), maps=1)
    x, dy = leaf(random(2, 3, 2, 4, 5).to(DEVICE)), random(2, 3, 2, 5, 7, seed=1).to(DEVICE)
    amplitude = leaf(torch.tensor([0.5, 0.0], device=DEVICE))
    y = upsample_add_noise(x, (5, 7), noise, amplitude, impl=impl)
    dx, damplitude = torch.autograd.grad(y, (x, amplitude), dy)
    z = scaled_noise((2, 3, 2, 5, 7), noise, 1.0, impl="torch")
    torch.testing.assert_close(damplitude, (dy * z).flatten(1).sum(1))
    torch.testing.assert_close(dx, torch.autograd.grad(upsample(x, (5, 7), impl="torch"), x, dy)[0])


@pytest.mark.usefixtures("four_frames")
@CHANNELS_AND_FRAMES
def test_given_noise_in_four_frames_per_program_matches_the_formula(shape: tuple[int, ...]) -> None:
    x, noise, dy, v = (random(*shape, *size, seed=seed).to(DEVICE)
                       for seed, size in enumerate(((4, 5), (5, 7), (5, 7), (5, 7))))
    amplitude = random(shape[0], seed=5).to(DEVICE)
    assert_matches(sum_with_gradients(partial(upsample_add_noise, impl="triton"), (5, 7)),
                   sum_with_gradients(sum_by_formula, (5, 7)), (x, noise, amplitude, dy, v),
                   multilinear=True, terms=dy.numel())


@pytest.mark.parametrize("impl", ["torch", "triton"])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_of_scale_0_is_amplitude_times_noise(channels: int, impl: Any) -> None:
    noise, amplitude = leaf(random(2, channels, 2, 4, 5).to(DEVICE)), torch.tensor([0.5, 0.25], device=DEVICE)
    y = scaled_noise((2, 3, 2, 4, 5), noise, amplitude, impl=impl)
    assert torch.equal(y, (amplitude.view(-1, 1, 1, 1, 1) * noise).expand(2, 3, 2, 4, 5))
    dnoise, = torch.autograd.grad(y.sum(), noise)
    assert torch.equal(dnoise, (amplitude * 3 / channels).view(-1, 1, 1, 1, 1).expand_as(noise))


def test_noise_of_another_dtype_promotes() -> None:
    x, noise = random(1, 3, 2, 4, 5).bfloat16().to(DEVICE), random(1, 1, 1, 6, 7, seed=1).to(DEVICE)
    results = [upsample_add_noise(x, (6, 7), noise, 0.5, impl=impl) for impl in ("torch", "triton")]  # type: ignore[arg-type]
    assert results[0].dtype == results[1].dtype == torch.float32
    torch.testing.assert_close(*results, rtol=0, atol=2e-2)  # the torch form rounds what it upsamples


# ---- residual --------------------------------------------------------------------------------------------------------


def residual_with_gradients(add: Callable[..., Tensor], size: Size, with_x: bool) -> Calculation:
    def run(x: Tensor, residual: Tensor, dy: Tensor, v: Tensor) -> Results:
        x, residual, dy = leaf(x), leaf(residual), leaf(dy)
        y = add(x if with_x else None, size, residual)
        dresidual, = torch.autograd.grad(y, residual, dy, create_graph=True)
        ddy, second = torch.autograd.grad(dresidual, (dy, residual), v, retain_graph=True)
        results = {"y": y.detach(), "dresidual": dresidual.detach(), "ddy": ddy, "dresidual of dresidual": second}
        return results | ({"dx": torch.autograd.grad(y, x, dy)[0]} if with_x else {})
    return run


def residual_by_formula(x: Tensor | None, size: Size, residual: Tensor) -> Tensor:
    return torch.tanh(residual) if x is None else formula(x, size) + torch.tanh(residual)


@pytest.mark.parametrize("with_x", [True, False])
@each_form
def test_the_residual_and_its_gradients_match_the_formula(impl: Any, dtype: torch.dtype, layout: str,
                                                          with_x: bool) -> None:
    arrange, wide = LAYOUTS[layout], torch.promote_types(dtype, torch.float32)
    x, dy = (random(2, 3, 2, *size, dtype=wide, seed=seed).to(DEVICE) for seed, size in enumerate(((4, 5), (5, 7))))
    residual, v = (random(2, 3, 2, 5, 7, dtype=dtype, seed=seed).to(DEVICE) for seed in (2, 3))
    # terms: the Triton form of tanh is three roundings, and two hardware approximations of a step or two.
    assert_matches(residual_with_gradients(partial(upsample_tanh_residual, impl=impl), (5, 7), with_x),
                   residual_with_gradients(residual_by_formula, (5, 7), with_x),
                   (arrange(x), arrange(residual), arrange(dy), arrange(v)), terms=4)


@pytest.mark.usefixtures("four_frames")
@CHANNELS_AND_FRAMES
def test_a_residual_in_four_frames_per_program_matches_the_formula(shape: tuple[int, ...]) -> None:
    x, residual, dy, v = (random(*shape, *size, seed=seed).to(DEVICE)
                          for seed, size in enumerate(((4, 5), (5, 7), (5, 7), (5, 7))))
    assert_matches(residual_with_gradients(partial(upsample_tanh_residual, impl="triton"), (5, 7), True),
                   residual_with_gradients(residual_by_formula, (5, 7), True),
                   (x, LAYOUTS["channels-last"](residual), dy, v), terms=4)


@pytest.mark.parametrize("value", [0.0, 1e-6, -3e-3, 0.5, -2.0, 5.0, -9.0, 20.0, 200.0, float("inf")])
def test_a_saturated_residual_keeps_its_gradient(value: float) -> None:
    """1 - tanh^2 rounds to zero from 9 on; 1 / cosh^2 does not."""
    residual = leaf(torch.full((1, 3, 1, 1, 2), value, device=DEVICE))
    y = upsample_tanh_residual(None, (1, 2), residual, impl="triton")
    exact = torch.tensor(value, dtype=torch.float64)
    torch.testing.assert_close(y, torch.tanh(exact).float().to(DEVICE).expand_as(y), rtol=0, atol=4e-7)
    dresidual, = torch.autograd.grad(y.sum(), residual)
    slope = (1 / exact.cosh() ** 2).float().to(DEVICE)
    torch.testing.assert_close(dresidual, slope.expand_as(y), rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_a_clip_is_planes_and_the_gradient_lies_as_the_residual(impl: Any, layout: str) -> None:
    residual = leaf(LAYOUTS[layout](random(1, 3, 2, 5, 7).to(DEVICE)))
    y = upsample_tanh_residual(random(1, 3, 2, 4, 5).to(DEVICE), (5, 7), residual, impl=impl)
    if impl == "triton":
        assert y.is_contiguous()
        assert torch.autograd.grad(y.sum(), residual)[0].stride() == residual.stride()
    assert upsample_tanh_residual(None, (5, 7), residual.bfloat16(), impl=impl).dtype == torch.float32


# ---- the operators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["contiguous", "sliced"])
def test_operators_keep_torchs_contract(layout: str) -> None:
    arrange, ops, shape = LAYOUTS[layout], torch.ops.sgif, (1, 2, 1, 1, 3)
    x, z, g = (leaf(arrange(random(1, 2, 1, *size).to(DEVICE))) for size in ((2, 2), (1, 3), (1, 3)))
    amplitudes = leaf(torch.tensor([0.5], device=DEVICE))
    torch.library.opcheck(ops.upsample_add_noise.default,
                          (x, shape, "bilinear", z, None, amplitudes, 1.0, 0, False, 0, 0))
    torch.library.opcheck(ops.upsample_bwd.default, (z, (2, 2), "bilinear"))
    torch.library.opcheck(ops.upsample_tanh_residual.default, (x, g, "bilinear"))
    torch.library.opcheck(ops.tanh_residual_bwd.default, (z, g))


def test_operators_of_scale_0_keep_torchs_contract() -> None:
    seed, ops = torch.tensor(5, device=DEVICE), torch.ops.sgif
    torch.library.opcheck(ops.upsample_add_noise.default,
                          (None, (1, 3, 1, 1, 2), "bilinear", None, seed, None, 0.5, 1, True, 1, 4))
    residual = leaf(random(1, 3, 1, 1, 2).to(DEVICE))
    torch.library.opcheck(ops.upsample_tanh_residual.default, (None, residual, "bilinear"))


def test_a_compiled_graph_holds_them_whole() -> None:
    def both_ends(x: Tensor, seed: Tensor, amplitude: Tensor) -> Tensor:
        noise = PhiloxNoise(seed=seed, maps=1)
        y = upsample_add_noise(x, (3, 4), noise, amplitude, impl="triton")
        return upsample_tanh_residual(x, (3, 4), y, impl="triton")

    x = random(1, 3, 1, 2, 3).to(DEVICE)
    seed, amplitude = torch.tensor(5, device=DEVICE), torch.tensor(0.5, device=DEVICE)
    eager, compiled = leaf(x), leaf(x)
    y = both_ends(eager, seed, amplitude)
    z = torch.compile(both_ends, fullgraph=True, backend="aot_eager")(compiled, seed, amplitude)
    assert torch.equal(y, z)
    assert torch.equal(*(torch.autograd.grad(result.sum(), leaf_)[0] for result, leaf_ in ((y, eager), (z, compiled))))


CLIP = torch.zeros(2, 3, 2, 4, 5)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: upsample(CLIP[0], (2, 2)), r"upsample_add_noise: x is \(3, 2, 4, 5\)"),
    (lambda: upsample(CLIP, (0, 2)), r"resized to \(0, 2\)"),
    (lambda: upsample(CLIP, (2, 2), mode="nearest"), "mode is 'nearest'"),  # type: ignore[arg-type]
    (lambda: upsample(CLIP.double(), (2, 2), impl="triton"), "got torch.float64"),
    (lambda: upsample_add_noise(CLIP, (2, 2), CLIP[:, :2], 0.1), r"noise is \(2, 2, 2, 4, 5\)"),
    (lambda: upsample_add_noise(CLIP, (4, 5), CLIP, torch.ones(3)), r"amplitude is \(3,\)"),
    (lambda: upsample_tanh_residual(CLIP, (2, 2), CLIP), "expected .N, C, T, 2, 2."),
    (lambda: upsample_tanh_residual(CLIP, (4, 5), CLIP[:, :, :1]), "the same samples, channels and frames")])
def test_what_does_not_belong_together_is_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ---- on a GPU --------------------------------------------------------------------------------------------------------


def generator_ends(x: Tensor, noise: PhiloxNoise, amplitude: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    inputs = upsample_add_noise(x, size, noise, amplitude, impl="triton")
    return inputs, upsample_tanh_residual(x, size, inputs, impl="triton")


@pytest.mark.gpu
def test_a_large_clip_gives_the_same_bits_twice_and_the_torch_forms_numbers() -> None:
    x, noise = random(2, 3, 9, 75, 101).to(DEVICE), PhiloxNoise(seed=torch.tensor(5, device=DEVICE), maps=1)
    amplitude = torch.tensor([0.5, 0.0], device=DEVICE)
    first, second = (generator_ends(x, noise, amplitude, (100, 134)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    expected = upsample_add_noise(x, (100, 134), noise, amplitude, impl="torch")
    torch.testing.assert_close(first[0], expected, rtol=1e-5, atol=5e-5)  # torch's positions are float32


@pytest.mark.gpu
def test_a_captured_graph_draws_anew_and_agrees_with_eager() -> None:
    x, seed = random(2, 3, 4, 20, 30).to(DEVICE), torch.tensor(5, device=DEVICE)
    noise, amplitude = PhiloxNoise(seed=seed), torch.tensor([0.5, 0.0], device=DEVICE)
    generator_ends(x, noise, amplitude, (27, 40))  # compiles, and makes the tables
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        seed.add_(1)
        captured = generator_ends(x, noise, amplitude, (27, 40))
    seed.fill_(5)
    for step in (6, 7):
        graph.replay()
        eager = generator_ends(x, PhiloxNoise(seed=torch.tensor(step, device=DEVICE)), amplitude, (27, 40))
        assert all(torch.equal(a, b) for a, b in zip(captured, eager, strict=True))


@pytest.mark.gpu
def test_nothing_is_read_back() -> None:
    x, noise = leaf(random(2, 3, 4, 20, 30).to(DEVICE)), PhiloxNoise(seed=torch.tensor(5, device=DEVICE))
    amplitude = torch.tensor([0.5, 0.0], device=DEVICE)
    generator_ends(x, noise, amplitude, (27, 40))[1].sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        generator_ends(x, noise, amplitude, (27, 40))[1].sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# ---- derivatives of the torch form -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(3, 4), (4, 5), (2, 2)], ids=label)
def test_derivatives_match_differences(size: Size) -> None:
    x = leaf(random(1, 1, 2, 3, 3, dtype=torch.float64))
    other = leaf(random(1, 1, 2, *size, dtype=torch.float64, seed=1))
    amplitude = leaf(torch.tensor(0.3, dtype=torch.float64))
    for function, inputs in ((lambda a: resize(a, size), (x,)), (lambda a: upsample(a, size), (x,)),
                             (lambda a, z, s: upsample_add_noise(a, size, z, s), (x, other, amplitude)),
                             (lambda a, g: upsample_tanh_residual(a, size, g), (x, other))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
