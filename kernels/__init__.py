"""Operators of SinGAN-GIF. Imports torch (and triton, where a kernel has one) and nothing else of the project."""

from .batch_norm_act import batch_norm_act, batch_norm_act_reference
from .color_statistics import frame_color_statistics
from .convolution import PadMode, as_cast, channels_last, convolution, pad_clip, weight_gradients_disabled
from .convolution_mean import convolution_mean, convolution_mean_reference, tap_combinations
from .depthwise_pair import depthwise_pair3d, depthwise_pair3d_reference
from .fusion import disable_fusion, enable_fusion
from .philox import PhiloxNoise
from .resample import resize, scaled_noise, upsample, upsample_add_noise, upsample_tanh_residual
from .separable_conv3d import (
    folds_norm_act,
    norm_act_separable_conv3d,
    separable_conv3d,
    separable_conv3d_reference,
    separable_conv3d_statistics,
)

__all__ = [
    "PadMode",
    "PhiloxNoise",
    "as_cast",
    "batch_norm_act",
    "batch_norm_act_reference",
    "channels_last",
    "convolution",
    "convolution_mean",
    "convolution_mean_reference",
    "depthwise_pair3d",
    "depthwise_pair3d_reference",
    "disable_fusion",
    "enable_fusion",
    "folds_norm_act",
    "frame_color_statistics",
    "norm_act_separable_conv3d",
    "pad_clip",
    "resize",
    "scaled_noise",
    "separable_conv3d",
    "separable_conv3d_reference",
    "separable_conv3d_statistics",
    "tap_combinations",
    "upsample",
    "upsample_add_noise",
    "upsample_tanh_residual",
    "weight_gradients_disabled",
]
