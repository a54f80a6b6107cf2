"""Forecasts of memory, held against what the allocator hands out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sgif.engine.config import TrainConfig
from sgif.engine.profiling import rehearsal
from sgif.engine.profiling.forecast import (
    ScaleForecast,
    forecast_largest,
    forecast_scale,
    largest_scale,
    step_shapes,
)
from sgif.engine.profiling.measure import measure_scale
from sgif.engine.pyramid import plan_scales
from sgif.engine.trainer import set_fusion
from sgif.kernels import disable_fusion, dispatch, resample_triton
from sgif.kernels.resample_tables import axis_table

MakeConfig = Callable[..., TrainConfig]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
FRAMES, SIZE = 8, (20, 24)
SMALL: dict[str, Any] = {"min_size_px": 12, "width": 8, "frames_per_step": (6, 4), "padding": "reflect"}
OPTIONS = [{"amp": amp, "checkpointing": checkpointing} for amp in (False, True) for checkpointing in (False, True)]


def forecast(config: TrainConfig, device: torch.device = CPU, scale: int = -1) -> ScaleForecast:
    plans = plan_scales(*SIZE, FRAMES, config)
    return forecast_scale(plans, scale % len(plans), FRAMES, config, device)


def named(options: dict[str, Any]) -> str:
    return "+".join(name if value is True else f"{name}={value}" for name, value in options.items() if value) or "plain"


@pytest.mark.parametrize("scale", [0, pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_forecast_is_within_10_percent_of_the_measured_peak(options: dict[str, Any], scale: int,
                                                            tiny_config: MakeConfig) -> None:
    config = tiny_config(**SMALL, **options)
    plans = plan_scales(*SIZE, FRAMES, config)
    measured = measure_scale(plans, scale, FRAMES, config, CPU, steps=1)
    assert forecast(config, scale=scale).peak_bytes == pytest.approx(measured.peak_bytes, rel=0.1)


@pytest.mark.parametrize("changes", [{"separable": "dense"}, {"separable": "r2plus1d"}, {"padding": "once"},
                                     {"d_steps": 2, "g_steps": 2}, {"noise": "split", "gp_norm": "sample"},
                                     {"slow_motion": 3}], ids=named)
def test_forecast_holds_for_other_settings(changes: dict[str, Any], tiny_config: MakeConfig) -> None:
    config = tiny_config(**{**SMALL, **changes})
    plans = plan_scales(*SIZE, FRAMES, config)
    measured = measure_scale(plans, 1, FRAMES, config, CPU, steps=1)
    assert forecast(config, scale=1).peak_bytes == pytest.approx(measured.peak_bytes, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_forecast_holds_for_compiled_norms(options: dict[str, Any], tiny_config: MakeConfig) -> None:
    config = tiny_config(**SMALL, **options, fuse=True)
    plans = plan_scales(*SIZE, FRAMES, config)
    try:
        if why := set_fusion(config, CPU):
            pytest.skip(why)
        measured = measure_scale(plans, 2, FRAMES, config, CPU, steps=1)
    finally:
        disable_fusion()
    assert forecast(config).peak_bytes == pytest.approx(measured.peak_bytes, rel=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_forecast_is_near_the_peak_of_a_gpu(options: dict[str, Any], tiny_config: MakeConfig) -> None:
    """Within a quarter, at 96 pixels: cuDNN's workspaces are not in it."""
    config = tiny_config(**{**SMALL, "width": 32, "max_width": 32}, **options, device="cuda")
    plans = plan_scales(96, 96, FRAMES, config)
    measured = measure_scale(plans, len(plans) - 1, FRAMES, config, GPU, steps=1)
    expected = forecast_scale(plans, len(plans) - 1, FRAMES, config, GPU)
    assert expected.peak_bytes == pytest.approx(measured.peak_bytes, rel=0.25)


def test_quick_gives_the_same_bytes(tiny_config: MakeConfig) -> None:
    config = tiny_config(**SMALL)
    plans = plan_scales(*SIZE, FRAMES, config)
    assert largest_scale(plans) == 2
    for device in (CPU, GPU):
        quick = forecast_largest(*SIZE, FRAMES, config, device)
        assert quick.peak_bytes == pytest.approx(forecast(config, device).peak_bytes, rel=0.02)


def test_lasting_bytes_are_those_of_the_networks(tiny_config: MakeConfig, make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(1)
    config = tiny_config()
    plans = plan_scales(12, 16, 6, config)
    found = forecast_scale(plans, 1, 6, config, CPU)
    numbers = {name: sum(p.numel() for p in network.parameters()) for name, network in trainer.networks.items()}
    assert found.parameters == numbers
    assert found.lasting.gradients == 4 * sum(numbers.values())
    assert 8 * sum(numbers.values()) < found.lasting.optimizer < 9 * sum(numbers.values())
    assert found.host_bytes == 12 * 6 * (8 * 11 + 10 * 13 + 12 * 16 + 12 * 16 + 8 * 11 + 8 * 11)


def test_shapes_are_what_the_networks_take(tiny_config: MakeConfig) -> None:
    assert forecast(tiny_config(**SMALL), scale=0).shapes == {
        "window": (1, 3, 6, 12, 14), "generator": (2, 3, 6, 12, 14), "image_critic": (12, 3, 12, 14),
        "video_critic": (2, 3, 6, 12, 14)}
    assert forecast(tiny_config(**SMALL), scale=2).shapes == {
        "window": (1, 3, 4, 20, 24), "coarser": (2, 3, 4, 15, 19), "generator": (8, 9, 20, 24),
        "image_critic": (8, 3, 20, 24), "video_critic": (2, 3, 4, 20, 24)}


@pytest.mark.parametrize("slow_motion", [1, 2])
@pytest.mark.parametrize("scale", [0, 2])
def test_shapes_are_those_that_a_step_works_on(scale: int, slow_motion: int, tiny_config: MakeConfig,
                                               make_trainer: Callable[..., Any]) -> None:
    trainer, seen = make_trainer(scale, slow_motion=slow_motion), {}
    for name, network in trainer.networks.items():
        network.register_forward_pre_hook(
            lambda _, x, name=name: seen.update({name: seen.get(name, tuple(x[0].shape))}))
    config = tiny_config(slow_motion=slow_motion)
    plans = plan_scales(12, 16, 6, config)
    draw = trainer.draw(0, 0)
    batch = trainer.prepare(draw)
    trainer.train_step(0)
    if trainer.plan.kind == "2D":  # which puts neighbours on the channel axis first
        n, c, t, h, w = seen["generator"]
        seen["generator"] = (n * t, 3 * c, h, w)
    seen |= {"window": tuple(draw.real.shape)} | ({"coarser": tuple(batch.coarser.shape)} if scale else {})
    assert step_shapes(plans, scale, config) == seen


# ---- a GPU that is not there -----------------------------------------------------------------------------------------


def test_a_gpu_is_forecast_where_there_is_none(tiny_config: MakeConfig) -> None:
    plain, amp = (forecast(tiny_config(**SMALL, amp=amp), GPU) for amp in (False, True))
    assert plain.workspace_bytes < amp.peak_bytes < plain.peak_bytes
    assert plain.phases.keys() >= {"coarser", "G/forward", "D/video_gp", "D/adam", "G/backward", "reconstruction"}


@pytest.mark.skipif(not dispatch.HAS_TRITON, reason="needs Triton")
def test_kernels_are_counted_instead_of_launched(tiny_config: MakeConfig) -> None:
    """A norm of a critic is two kernels, where the torch form is some ten operators."""
    on_gpu, on_cpu = (forecast(tiny_config(**SMALL), device) for device in (GPU, CPU))
    assert on_gpu.phases["D/image"].launches < on_cpu.phases["D/image"].launches / 2
    assert on_gpu.phases["D/image"].launches > 5 * 4 + 10


def test_a_rehearsal_leaves_everything_as_it_was(tiny_config: MakeConfig) -> None:
    def state() -> tuple[Any, ...]:
        return (dispatch.auto_emulates, dispatch.emulated_arch, dispatch.HAS_TRITON, resample_triton.axis_table,
                torch.nn.Module.to, torch.random.get_rng_state().sum())
    before = state()
    forecast(tiny_config(**SMALL), GPU)
    assert state() == before
    start, _ = axis_table(7, 9, "bilinear", False, CPU)
    assert type(start) is torch.Tensor


def test_a_failing_rehearsal_does_so_too(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("as an operator does that fakes do not know")
    monkeypatch.setattr(rehearsal, "reconstruct_scale", fails)
    before = dispatch.auto_emulates, torch.nn.Module.to
    with pytest.raises(RuntimeError, match="fakes"):
        forecast(tiny_config(**SMALL), GPU)
    assert (dispatch.auto_emulates, torch.nn.Module.to) == before
    assert type(torch.empty(1)) is torch.Tensor


def test_without_triton_a_gpu_s_forecast_is_nearly_the_same(tiny_config: MakeConfig,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what kernels leave for each other is missing then."""
    with_triton = forecast_largest(*SIZE, FRAMES, tiny_config(**SMALL), GPU)
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    without = forecast_largest(*SIZE, FRAMES, tiny_config(**SMALL), GPU)
    assert without.peak_bytes == pytest.approx(with_triton.peak_bytes, rel=0.02)
