"""What named GPUs cannot go below, predicted from counters: nothing here was measured.

A call takes at least as long as its bytes at the memory's full bandwidth, as its multiply-adds at the peak rate, and
as its launches one after the other; the longest of the three is the prediction. Real calls take longer: caches are
cold or too small, no kernel runs at the peak, and the three overlap only in part.

The rates are what vendors state for dense matrices at boost clock. float32 is that of the CUDA cores, since cuDNN's
TF32 is off in training. For one thing that is no bound: the pointwise product inside the Triton separable convolution
is three products of TF32 on tensor cores (an H100 SXM: 495 / 3 = 165 TFLOP/s). It matters where bytes do not decide
anyway: on an H100 from 128 channels on, on an A100 from 32. A CPU is not predicted: its rate hangs on clocks and on
oneDNN's choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

GRAPH_LAUNCH_SECONDS, EAGER_LAUNCH_SECONDS = 1.5e-6, 3e-6
"""An assumption, not a measurement: what a kernel in a CUDA graph, and one launched by itself, take if they do next to
nothing. Hosts and drivers differ by a factor of two."""

PREDICTED = "predicted "
"""How the names of predicted seconds begin in a row's values."""


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What a device can do at most."""

    flops_per_second: Mapping[torch.dtype, float]
    """By dtype of the operands; a dtype that is not there is not predicted."""
    bytes_per_second: float


def _peaks(float32: float, bfloat16: float | None, gigabytes: float) -> Peaks:
    """From TFLOP/s and GB/s, as data sheets have them."""
    rates = {torch.float32: float32 * 1e12} | ({torch.bfloat16: bfloat16 * 1e12} if bfloat16 else {})
    return Peaks(flops_per_second=rates, bytes_per_second=gigabytes * 1e9)


# float32 of CUDA cores, bfloat16 of tensor cores without sparsity and with float32 sums (data sheets give 2x, with
# sparsity, for H100 and L4), memory.
DEVICES: Mapping[str, Peaks] = {
    "H100 SXM": _peaks(66.9, 989.4, 3350),    # NVIDIA H100 data sheet; digits: H100 architecture white paper, table 2
    "H100 PCIe": _peaks(51.2, 756.5, 2000),   # NVIDIA H100 data sheet (PCIe: 51 and 1513 with sparsity)
    "A100 80GB": _peaks(19.5, 312, 2039),     # NVIDIA A100 data sheet, 80GB SXM
    "L4": _peaks(30.3, 121, 300),             # NVIDIA L4 data sheet
    "RTX 4090": _peaks(82.6, 165.2, 1008),    # NVIDIA Ada GPU architecture white paper, appendix A
    "T4": _peaks(8.1, None, 320),             # NVIDIA T4 data sheet; no bfloat16 (its float16: 65)
}

DRIVER_NAMES = {"NVIDIA H100 80GB HBM3": "H100 SXM", "NVIDIA H100 PCIe": "H100 PCIe",
                "NVIDIA A100-SXM4-80GB": "A100 80GB", "NVIDIA L4": "L4", "NVIDIA GeForce RTX 4090": "RTX 4090",
                "Tesla T4": "T4"}
"""Names of DEVICES by what drivers call them."""
FRACTION = "fraction of the bound"
"""Its name in a row's values."""


def predict(counters: Mapping[str, int], dtype: torch.dtype, *, graph: bool = True) -> dict[str, float]:
    """A lower bound in seconds for each of DEVICES that computes `dtype`.

    Args:
        counters: launches, bytes and flops, as `counters.count` gives them.
        graph: the launches are one CUDA graph's, as a training step's are.
    """
    launch = GRAPH_LAUNCH_SECONDS if graph else EAGER_LAUNCH_SECONDS
    return {name: max(counters["bytes"] / peaks.bytes_per_second, counters["flops"] / peaks.flops_per_second[dtype],
                      counters["launches"] * launch)
            for name, peaks in DEVICES.items() if dtype in peaks.flops_per_second}


def prediction_values(counters: Mapping[str, int], dtype: torch.dtype, *, graph: bool = True) -> dict[str, float]:
    """`predict` to four digits, named as predictions, for a row's values."""
    seconds = predict(counters, dtype, graph=graph)
    return {PREDICTED + name: float(f"{bound:.4g}") for name, bound in seconds.items()}


def fraction(predicted: float, measured: float) -> float:
    """Part of what is possible that was reached: 1 where the device took no longer than the bound (both in seconds).

    Raises:
        ValueError: seconds that are not positive.
    """
    if predicted <= 0 or measured <= 0:
        raise ValueError(f"predicted {predicted} s, measured {measured} s: expected more than 0")
    return predicted / measured


def fraction_values(values: Mapping[str, float], measured: float, device: torch.device) -> dict[str, float]:
    """The fraction that `measured` seconds on `device` are of a row's prediction for it, to four digits, for the row's
    values; nothing where there is no prediction."""
    name = DRIVER_NAMES.get(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    bound = values.get(f"{PREDICTED}{name}")
    return {FRACTION: float(f"{fraction(bound, measured):.4g}")} if bound else {}
