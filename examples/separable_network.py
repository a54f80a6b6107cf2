"""The operators without the rest: a small video network of one's own, and a gradient penalty through it.

    python examples/separable_network.py

On a GPU with triton installed these are Triton kernels, elsewhere torch; both are differentiable as often as needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgif.kernels import batch_norm_act, separable_conv3d


class Block(nn.Module):
    """Separable convolution, BatchNorm, LeakyReLU(0.2): [N, C, T, H, W] to [N, O, T, H, W]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.spatial = nn.Parameter(torch.randn(channels, 3, 3) / 3)
        self.temporal = nn.Parameter(torch.randn(channels, 3) / 3**0.5)
        self.pointwise = nn.Parameter(torch.randn(out, channels) / channels**0.5)
        self.gamma = nn.Parameter(torch.ones(out))
        self.beta = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        y = separable_conv3d(x, self.spatial, self.temporal, self.pointwise, pad_space="reflect", pad_time="replicate")
        return batch_norm_act(y, self.gamma, self.beta)[0]


def main() -> None:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = nn.Sequential(Block(3, 16), Block(16, 16), Block(16, 1)).to(device)
    clip = torch.randn(2, 3, 6, 32, 48, device=device, requires_grad=True)

    gradient, = torch.autograd.grad(network(clip).sum(), clip, create_graph=True)  # of the input, kept differentiable
    penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    penalty.backward()
    print(f"penalty {float(penalty.detach()):.4g}")
    for name, parameter in network.named_parameters():
        gradient_norm = 0.0 if parameter.grad is None else float(parameter.grad.norm())
        print(f"{name:>14}: gradient of the penalty {gradient_norm:.2e}")


if __name__ == "__main__":
    main()
