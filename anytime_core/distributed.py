"""What the processes of one training share. With one process, every function returns its input unchanged."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


def launched() -> tuple[int, int]:
    """The number of this process, and how many processes torchrun or accelerate launch started."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def world_size() -> int:
    """The number of processes of this training, once their group is formed; until then 1."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0. The first process writes files and prints."""
    return dist.get_rank() if world_size() > 1 else 0


def joined(x: Tensor, dim: int = 0) -> Tensor:
    """The `x` of all processes, concatenated along `dim`; all must have the same shape. Not differentiable."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts, dim)


def summed(x: Tensor) -> Tensor:
    """The sum of `x` over processes. Not differentiable."""
    if world_size() == 1:
        return x
    x = x.clone()
    dist.all_reduce(x)
    return x


def from_first(x: Tensor) -> Tensor:
    """The `x` of the first process, in all of them."""
    if world_size() > 1:
        x = x.contiguous()
        dist.broadcast(x, src=0)
    return x


def own_share(x: Tensor) -> Tensor:
    """This process's rows of `x` [B, ...], which is the same in all processes; B is a multiple of their number."""
    return x.chunk(world_size())[rank()]


class SynchronizedBatchNorm(_BatchNorm):
    """Batch normalisation over the batches of all processes, on any device; `nn.SyncBatchNorm` needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> the same shape."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        per_channel = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        total = world_size() * x.numel() // x.shape[1]
        values = x.float()
        mean = all_reduce(values.sum(axes)) / total
        centred = values - mean.view(per_channel)
        variance = all_reduce(centred.square().sum(axes)) / total
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            rate = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
            self.running_mean.lerp_(mean.detach(), rate)
            self.running_var.lerp_(variance.detach() * total / max(1, total - 1), rate)
        normal = centred * (variance + self.eps).rsqrt().view(per_channel)
        if self.affine:
            normal = normal * self.weight.view(per_channel) + self.bias.view(per_channel)
        return normal.to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""


def synchronize_norms(module: nn.Module) -> None:
    """Replace every batch normalisation in `module` by one over all processes, of the same state.

    Processes that talk by NCCL, each with a GPU, get torch's `SyncBatchNorm`, others a `SynchronizedBatchNorm`.
    """
    by_torch = world_size() > 1 and dist.get_backend() == "nccl"
    kind = nn.SyncBatchNorm if by_torch else SynchronizedBatchNorm
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            norm = kind(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            norm.load_state_dict(child.state_dict())
            norm.train(child.training)
            setattr(module, name, norm)
        else:
            synchronize_norms(child)
