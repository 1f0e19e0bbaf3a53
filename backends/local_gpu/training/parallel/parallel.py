"""How the processes of a job hold their model: each the whole of it, or each a shard.

A whole model adds its gradients up once a step. Nothing is exchanged while a batch is computed, so
one process can run out of memory and compute smaller batches while the others wait. torch's DDP
would exchange within backpropagation, and only through a model's own `forward`, which the loss of
labelled tokens goes around.

Shards (torch's FSDP2) are gathered layer by layer while a batch is computed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from backends.local_gpu.hardware import Share
from backends.local_gpu.training.parallel.world import World

T = TypeVar("T")

_BUCKET: Final = 2**24
"""Numbers that are added up together."""


class Root(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Computes anything with the weights outside the layers gathered."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], T]) -> T:
        """Return what a function returns."""
        return work()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """The processes of a job, and how they hold its model."""

    world: World = field(default_factory=World)
    share: Share = field(default_factory=lambda: Share(accumulation=1))
    root: Root | None = None
    """Computes with shards; None where each process has the whole model."""

    @property
    def is_sharded(self) -> bool:
        """True if each process has a part of the weights."""
        return self.root is not None

    def run(self, work: Callable[[], T]) -> T:
        """Return what a function returns that computes with the model; without gradients.

        Every process must call it.
        """
        if self.root is None:
            return work()
        with torch.no_grad():
            found: T = self.root(work)
        if isinstance(self.root, FSDPModule):
            # Backpropagation would do it.
            self.root.reshard()
        return found

    def learn(self, work: Callable[[], T]) -> T:
        """Return what a function returns that computes with the model, for backpropagation.

        Every process must call it. Gradients flow through tensors and tuples of tensors only.
        """
        if self.root is None:
            return work()
        found: T = self.root(work)
        return found

    def equalise(self, model: torch.nn.Module) -> None:
        """Give what learns in a whole model the values of the first process."""
        if self.world.is_alone or self.is_sharded:
            return
        for weights in model.parameters():
            if weights.requires_grad:
                distributed.broadcast(weights.data, src=0)

    def add_gradients(self, model: torch.nn.Module) -> None:
        """Replace the gradients of a whole model by the sums over all processes."""
        if self.world.is_alone or self.is_sharded:
            return
        learning = [one for one in model.parameters() if one.requires_grad]
        # What no process has learned keeps no gradient, as on one device.
        wanted = self.world.most(*(float(one.grad is not None) for one in learning))
        chosen = [one for one, has in zip(learning, wanted, strict=True) if has]
        for weights in chosen:
            if weights.grad is None:
                weights.grad = torch.zeros_like(weights)
        for bucket in _buckets(chosen):
            gradients = [one.grad for one in bucket if one.grad is not None]
            joined = torch.cat([one.flatten() for one in gradients])
            distributed.all_reduce(joined)
            sizes = [one.numel() for one in gradients]
            for gradient, part in zip(gradients, joined.split(sizes), strict=True):
                gradient.copy_(part.view_as(gradient))


def shard(model: PreTrainedModel, world: World, where: torch.device) -> Root:
    """Give each process a part of every weight of a model that is not on its device yet.

    Args:
        model: The model, with equal weights in every process.
        world: The processes.
        where: The device of this process.
    """
    mesh = init_device_mesh(where.type, (world.size,))
    # What transformers shards by.
    layers = set(getattr(model, "_no_split_modules", None) or ())
    for module in [one for one in model.modules() if type(one).__name__ in layers]:
        fully_shard(module, mesh=mesh)
    root = Root(model)
    fully_shard(root, mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            # The loss of each process is a part of the whole one: gradients add up.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)
    return root


def whole(values: torch.Tensor) -> torch.Tensor:
    """Return a tensor with all its shards. Every process must call it."""
    return values.full_tensor() if isinstance(values, DTensor) else values


def gathered(weights: Iterable[tuple[str, torch.Tensor]], world: World) -> dict[str, torch.Tensor]:
    """Return tensors with all their shards in the first process's own memory; nothing elsewhere."""
    found = {}
    for name, one in weights:
        full = whole(one.detach())
        if world.is_first:
            found[name] = full.to("cpu", copy=True).contiguous()
    return found


def put(target: torch.Tensor, values: torch.Tensor) -> None:
    """Write the values of a whole tensor into a tensor, of which a process may have a shard."""
    with torch.no_grad():
        if isinstance(target, DTensor):
            values = distribute_tensor(
                values.to(target.device), target.device_mesh, target.placements, src_data_rank=None
            )
        target.copy_(values)


def part_like(values: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the part of a whole tensor that a process has of another tensor of the same shape."""
    if not isinstance(target, DTensor) or values.shape != target.shape:
        return values
    made = values.to(target.device)
    return distribute_tensor(made, target.device_mesh, target.placements, src_data_rank=None)


def observed_sum(values: torch.Tensor | None, world: World) -> torch.Tensor | None:
    """Return the sum over all processes of what each has observed, if anything is."""
    return None if values is None else world.sum(values)


def _buckets(weights: list[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Yield weights whose gradients are added up together: alike, and not too many."""
    by_kind: Mapping[torch.dtype, list[torch.nn.Parameter]] = {
        kind: [one for one in weights if one.dtype == kind]
        for kind in dict.fromkeys(one.dtype for one in weights)
    }
    for alike in by_kind.values():
        bucket: list[torch.nn.Parameter] = []
        for one in alike:
            if bucket and sum(other.numel() for other in bucket) + one.numel() > _BUCKET:
                yield bucket
                bucket = []
            bucket.append(one)
        if bucket:
            yield bucket
