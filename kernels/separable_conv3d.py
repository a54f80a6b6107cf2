"""Channel-wise separable 3D convolution: depthwise 1x3x3, depthwise 3x1x1, pointwise 1x1x1, bias.

    u[n,c,t,y,x] = sum_ij  spatial[c,i,j]  x[n,c,t,y+i-1,x+j-1]
    v[n,c,t,y,x] = sum_k   temporal[c,k]   u[n,c,t+k-1,y,x]
    y[n,o,t,y,x] = sum_c   pointwise[o,c]  v[n,c,t,y,x] + bias[o]

Each frame, and the clip in time, is surrounded by zeros, by copies of the border, by its mirror image, or by nothing
("none": the result is smaller by two). Padding the axes one after the other or all at once is the same.
Differentiable any number of times. Section 3.3.1 of the paper names the two depthwise parts; without the pointwise
one channels never mix and nothing is learned.

The torch form multiplies the three small filters out to one dense 3x3x3 filter, exactly the same linear map, and
convolves once: dense convolutions are what CPUs and cuDNN are fast at, and it avoids ATen's depthwise weight
gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv3d

from .convolution import PadMode, convolution, pad_clip


def separable_conv3d_reference(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor,
                               bias: Tensor | None = None, *, pad_space: PadMode = "zeros",
                               pad_time: PadMode = "zeros") -> Tensor:
    """The specification: three convolutions in plain torch."""
    channels = x.shape[1]
    u = conv3d(pad_clip(x, pad_space, "none"), spatial[:, None, None], groups=channels)
    v = conv3d(pad_clip(u, "none", pad_time), temporal[:, None, :, None, None], groups=channels)
    return conv3d(v, pointwise[:, :, None, None, None], bias)


def separable_conv3d(x: Tensor, spatial: Tensor, temporal: Tensor, pointwise: Tensor, bias: Tensor | None = None, *,
                     pad_space: PadMode = "zeros", pad_time: PadMode = "zeros") -> Tensor:
    """Separable convolution of `x` [N, C, T, H, W].

    Args:
        spatial: [C, 3, 3]. temporal: [C, 3]. pointwise: [O, C]. bias: [O] or None.
        pad_space, pad_time: what surrounds each frame, and the clip in time.

    Returns:
        [N, O, T, H, W] (2 less along an axis without padding), channels innermost in memory, in autocast's dtype.

    Raises:
        ValueError: for shapes that do not belong together.
    """
    channels = x.shape[1]
    if x.dim() != 5 or spatial.shape != (channels, 3, 3) or temporal.shape != (channels, 3) or \
            pointwise.dim() != 2 or pointwise.shape[1] != channels:
        raise ValueError(f"separable_conv3d of x {tuple(x.shape)} with spatial {tuple(spatial.shape)}, temporal "
                         f"{tuple(temporal.shape)}, pointwise {tuple(pointwise.shape)}: expected [N, C, T, H, W], "
                         "[C, 3, 3], [C, 3], [O, C]")
    with torch.autocast(x.device.type, enabled=False):
        weight = torch.einsum("oc,ck,cij->ockij", pointwise, temporal, spatial)
    return convolution(x, weight, bias, pad_space=pad_space, pad_time=pad_time)
