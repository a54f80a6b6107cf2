"""Standard normal noise as a function of where it is used: Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller.

    words = Philox(counter, key = seed)                     4 words of 32 bits, which give 4 normals
    volume: counter (y W + x, t // 4, n C + c, stream)      normal t % 4, t counted in the longest clip
    map:    counter (y W + x, 2^32 - 1, n C/4 + c // 4, stream)      normal c % 4, C/4 rounded up

for the noise at (n, c, t, y, x). No state and no order: a kernel draws a number in the register where it adds it, in
tiles of any shape, and whoever asks again for the same seed and place gets the same bits.

From words (a, b): R = sqrt(-2 ln((a + 1/2) / 2^32)), at most 6.8; the lower 31 bits of b are an angle between -90 and
90 degrees, its top bit mirrors that to the other half of the circle. The kernel computes logarithm, sine and cosine by
short polynomials: on these ranges they need no special cases, which `tl.log` has, and no stack, which `tl.cos` has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .dispatch import jit, tl

_WORD = 0xFFFFFFFF
_MAP = -1
"""Stands where a volume's counter has a group of frames."""


@dataclass(frozen=True, kw_only=True)
class PhiloxNoise:
    """Noise for a clip [N, C, T, H, W] of which nothing but this is stored: a channel of a sample is a T x H x W volume
    of independent numbers, or one H x W map that all its frames share.

    Raises:
        ValueError: for a seed, a number of maps, a stream or a first frame that is none.
    """

    seed: Tensor
    """One int64 on the device. In a CUDA graph: count it up inside the graph, and every replay draws anew."""
    maps: int = 0
    """How many channels, the first ones, are maps; of more than four channels all or none."""
    gray: bool = False
    """One channel that all channels share."""
    stream: int = 0
    """0 to 2^31 - 1; noise of the same seed and another stream is independent."""
    first_frame: int = 0
    """Where the clip begins in a longer one, whose noise it then has: a multiple of 4."""

    def __post_init__(self) -> None:
        if self.seed.dtype != torch.int64 or self.seed.numel() != 1:
            raise ValueError(f"PhiloxNoise: seed is {self.seed.dtype} {tuple(self.seed.shape)}, expected one int64")
        if self.maps < 0:
            raise ValueError(f"PhiloxNoise: maps is {self.maps}, expected 0 or more")
        if not 0 <= self.stream < 2**31:
            raise ValueError(f"PhiloxNoise: stream is {self.stream}, expected 0 to 2^31 - 1")
        if self.first_frame < 0 or self.first_frame % 4:
            raise ValueError(f"PhiloxNoise: first_frame is {self.first_frame}, expected a multiple of 4")

    def maps_of(self, channels: int) -> int:
        """How many of a clip's `channels` are maps. Raises ValueError for a number that cannot be."""
        drawn = 1 if self.gray else channels
        if self.maps > drawn or (drawn > 4 and self.maps not in (0, drawn)):
            raise ValueError(f"PhiloxNoise: maps is {self.maps} for {drawn} channels, expected "
                             f"{'0 or all' if drawn > 4 else 'no more'}")
        return self.maps


# ---- torch -----------------------------------------------------------------------------------------------------------


def philox_normal(noise: PhiloxNoise, shape: Sequence[int]) -> Tensor:
    """The noise as a float32 tensor [N, C, T, H, W], in plain torch, on the device of the seed."""
    n, c, t, h, w = shape
    channels = 1 if noise.gray else c

    def draw(second: Tensor | int, third: Tensor, lanes: int) -> Tensor:
        """[number of `third`, number of `second`, 4 or fewer lanes, h w]"""
        words = philox_words(noise.seed, _arange(h * w, noise.seed), second, third.reshape(-1, 1, 1), noise.stream)
        return torch.stack([*_box_muller(*words[:2]), *_box_muller(*words[2:])][:lanes], 2)

    maps, parts = noise.maps_of(c), []
    if maps > 0:
        drawn = draw(_MAP, _arange(n * -(-channels // 4), noise.seed), min(channels, 4)).view(n, -1, 1, h * w)
        parts.append(drawn[:, :maps].expand(-1, -1, t, -1))
    if maps < channels:
        groups = _arange(-(-t // 4), noise.seed).view(-1, 1) + noise.first_frame // 4
        planes = _arange(n * channels, noise.seed).view(n, channels)[:, maps:]
        volume = draw(groups, planes, min(t, 4)).view(n, channels - maps, -1, h * w)
        parts.append(volume[:, :, :t])
    z = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return z.expand(n, c, t, h * w).reshape(n, c, t, h, w)


def philox_words(seed: Tensor, *counter: Tensor | int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 of four counter words that broadcast, by the 64-bit key `seed`: int64 in [0, 2^32)."""
    words = (word.long() if isinstance(word, Tensor) else seed.new_full((), word) for word in counter)
    a, b, c, d = torch.broadcast_tensors(*(word & _WORD for word in words))
    a, c = a.clone(), c.clone()  # they are worked on in place, which saves a third of the time
    low, high = seed & _WORD, (seed >> 32) & _WORD
    for _ in range(10):
        # Products wrap at 64 bits, which the masks undo; what stands above 32 bits in b and d is masked a round later.
        of_c, of_a = c.mul_(0xCD9E8D57), a.mul_(0xD2511F53)
        a = (of_c >> 32).bitwise_xor_(b).bitwise_xor_(low).bitwise_and_(_WORD)
        c = (of_a >> 32).bitwise_xor_(d).bitwise_xor_(high).bitwise_and_(_WORD)
        b, d = of_c, of_a
        low, high = low + 0x9E3779B9, high + 0xBB67AE85
    return a, b & _WORD, c, d & _WORD


def _box_muller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = torch.broadcast_tensors(a, b)
    radius = a.float().mul_(2.0**-32).add_(2.0**-33).log_().mul_(-2).sqrt_()
    angle = (b << 1).int().float().mul_(math.pi * 2.0**-32)  # int keeps the lower 32 bits, with a sign
    x = torch.where(b >= 2**31, -radius, radius).mul_(angle.cos())
    return x, angle.sin_().mul_(radius)


def _arange(size: int, seed: Tensor) -> Tensor:
    return torch.arange(size, device=seed.device)


# ---- Triton ----------------------------------------------------------------------------------------------------------


@jit
def volume_normals(seed, offs, group, plane, stream):
    """Normals of the frames 4 group to 4 group + 3 in the plane n C + c, at the pixels `offs`."""
    return _normals(seed, offs, group, plane, stream)


@jit
def map_normals(seed, offs, group, stream):
    """Normals of the maps of four channels at the pixels `offs`."""
    return _normals(seed, offs, -1, group, stream)


@jit
def _normals(seed, c0, c1, c2, c3):
    a, b, c, d = _philox_words(seed, c0, c1, c2, c3)
    return _box_muller_pair(a, b) + _box_muller_pair(c, d)


@jit
def _philox_words(seed, c0, c1, c2, c3):
    """`tl.philox` in half the multiplications: one of 64 bits gives both halves of a product."""
    a, b = tl.to_tensor(c0).to(tl.uint32), tl.to_tensor(c1).to(tl.uint32)
    c, d = tl.to_tensor(c2).to(tl.uint32), tl.to_tensor(c3).to(tl.uint32)
    low, high = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    for _ in tl.static_range(10):
        of_c, of_a = c.to(tl.uint64) * 0xCD9E8D57, a.to(tl.uint64) * 0xD2511F53
        a = (of_c >> 32).to(tl.uint32) ^ b ^ low
        c = (of_a >> 32).to(tl.uint32) ^ d ^ high
        b, d = of_c.to(tl.uint32), of_a.to(tl.uint32)
        low = tl.add(low, 0x9E3779B9, sanitize_overflow=False)
        high = tl.add(high, 0xBB67AE85, sanitize_overflow=False)
    return a, b, c, d


@jit
def _box_muller_pair(a, b):
    """All polynomials are minimax."""
    u = a.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10  # (a + 1/2) / 2^32
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F2AAAAB) & -0x800000  # u = 2^(exponent / 2^23) (1 + f), f in [-1/3, 1/3)
    f = (bits - exponent).to(tl.float32, bitcast=True) - 1.0
    r = 0.32159530793309965 * f - 0.3493832549634343  # -2 ln(1 + f) to 6e-8
    r = ((r * f + 0.3253351074378998) * f - 0.39452261600425004) * f + 0.5003520064745207
    r = ((r * f - 0.6668349277886194) * f + 0.9999950248857566) * f - 1.999998674658986
    radius = tl.sqrt(r * f + exponent.to(tl.float32) * -1.652591499e-7)  # -2 ln 2 / 2^23

    angle = (b << 1).to(tl.int32, bitcast=True).to(tl.float32) * 7.314590396335798e-10  # pi / 2^32
    s = angle * angle
    x = 2.315393164949406e-5 * s - 1.3853704307760174e-3  # cosine to 5e-8
    x = ((x * s + 4.166358469303523e-2) * s - 4.999990534707320e-1) * s + 9.999999534666677e-1
    y = 2.5904884995414356e-6 * s - 1.9800897762259334e-4  # sine to 4e-9
    y = ((y * s + 8.332899823342335e-3) * s - 1.666664763463911e-1) * s + 9.999999765898808e-1
    x = (x.to(tl.uint32, bitcast=True) ^ (b & 0x80000000)).to(tl.float32, bitcast=True)
    return x * radius, y * angle * radius
