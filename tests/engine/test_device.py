"""Frames on their way from the host to the device."""

import pytest
import torch

from sgif.engine.device import frames_on, host_copy

from .inputs import normal


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("first", "frames"), [(0, 7), (2, 3), (6, 1)])
def test_frames_arrive_as_they_are_and_contiguous(device: str, first: int, frames: int) -> None:
    where = torch.device(device)
    clip = host_copy(normal((1, 3, 7, 5, 6), 0, "clip"), where)
    arrived = frames_on(where, clip, first, frames)
    assert arrived.device.type == device
    assert arrived.is_contiguous()
    assert torch.equal(arrived.cpu(), clip[:, :, first:first + frames])


def test_a_cpu_needs_no_copy_on_the_host() -> None:
    clip = normal((1, 3, 2, 5, 6), 0, "clip")
    assert host_copy(clip, torch.device("cpu")) is clip


@pytest.mark.gpu
def test_for_a_gpu_the_host_s_copy_is_page_locked() -> None:
    clip = host_copy(normal((1, 3, 2, 5, 6), 0, "clip"), torch.device("cuda"))
    assert clip.is_pinned()
    assert clip.device.type == "cpu"
