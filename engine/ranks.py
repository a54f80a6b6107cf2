"""Several processes that learn or make one clip together, each on a device of its own: what they tell each other.

In training every rank draws windows and noise of its own and normalises by the statistics of its own clips, as one
process does. A step is taken on the mean of the ranks' gradients, so that the weights stay the same everywhere, and
only rank 0 writes.

Gradients are averaged after the last backward of a step and not from within it, as torch's DistributedDataParallel
does: a step differentiates every loss apart and the penalty twice, and hooks on the weights would send each of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from .device import describe_device
from .launch import place
from .storage import RunError

PATIENCE = timedelta(minutes=30)  # a rank that died is noticed at once; this is for one that hangs


class Ranks:
    """This process among those of its launch; where it is alone, nothing is sent."""

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index, self.count = index, count
        self.leads = index == 0
        """Whether this process writes the run's files and tells what happens."""
        self._asked: tuple[dist.Work, Tensor] | None = None

    @property
    def drawn(self) -> tuple[int, ...]:
        """What random numbers derive from besides their place: nothing at rank 0, which draws what one process does."""
        return (self.index,) if self.index else ()

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Make each of `tensors` its mean over the ranks, in place: one message for all."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _others_there():
            dist.all_reduce(flat)
        parts = flat.div_(self.count).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])

    def add(self, tensor: Tensor) -> None:
        """Add the ranks' tensors up, in place."""
        if self.count > 1:
            with _others_there():
                dist.all_reduce(tensor)

    def agree(self, wish: bool) -> bool:
        """Whether any rank wished so, the same answer on all; with several ranks it is that of the call before, so that
        the question travels while a step is computed."""
        if self.count == 1:
            return wish
        asked, self._asked = self._asked, None
        flag = torch.tensor(float(wish))
        with _others_there():
            if asked:
                asked[0].wait()
            self._asked = dist.all_reduce(flag, dist.ReduceOp.MAX, async_op=True), flag
        return asked is not None and bool(asked[1])

    def wait(self) -> None:
        """Go on when all ranks are here."""
        if self.count > 1:
            with _others_there():
                dist.all_reduce(torch.zeros(()))  # on the host; dist.barrier would take the GPU

    def describe(self, device: torch.device) -> str:
        """For people: "cpu, 2 threads", or "2 ranks, each like cpu, 1 thread"."""
        described = describe_device(device)
        return described if self.count == 1 else f"{self.count} ranks, each like {described}"

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Inside, rank 0 is alone; the others come when it has left."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


ALONE = Ranks()


def join_ranks(device: torch.device) -> Ranks:
    """Meet the other processes of this launch; ALONE without any. They stay connected as long as they live."""
    here = place()
    if here.ranks == 1:
        return ALONE
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with _others_there():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Ranks(here.rank, here.ranks)


@contextmanager
def _others_there() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # of gloo and NCCL a RuntimeError, of a rendezvous both
        reason = re.sub(r"^\[\S+\] ", "", str(error)).splitlines()[0].split(". ")[0]  # gloo's begins with its source
        raise RunError(f"no answer from the other processes of this launch ({reason}); what was saved last is safe, "
                       "and the same command goes on from there, also with another number of processes") from error
