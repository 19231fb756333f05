"""Ranks that share the columns of the vectors: rank r owns columns r * E / R to (r + 1) * E / R of all nodes.

Propagation acts on each column alone, so ranks speak only of scores, which are sums over columns.

Dimensions: R ranks, C rows of a chunk, E width, e = E / R columns of a rank.
"""

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from gensr_dist.distributed.ranks import Ranks, own_device
from gensr_dist.errors import InputError


@dataclass(frozen=True)
class ColumnRanks(Ranks):
    """This process among those that share the columns; by default it owns all of them."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=own_device)

    def columns(self, width: int) -> slice:
        """The columns of this rank.

        Raises:
            InputError: the ranks cannot share them evenly.
        """
        if width % self.world:
            raise InputError(
                "lightgcn.width",
                f"{width} columns cannot be shared evenly by {self.world} ranks",
                "change lightgcn.width or start a number of ranks that divides it",
            )
        share = width // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def add_up(self, part: Tensor) -> None:
        """Replace `part` by its sum over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(part)

    def as_first(self, value: float) -> float:
        """The value that the first rank has."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared)

    def rows(self, part_Ce: Tensor) -> Tensor:
        """The same rows with all columns [C, E], on every rank."""
        if self.world == 1:
            return part_Ce
        parts = [torch.empty_like(part_Ce) for _ in range(self.world)]
        dist.all_gather(parts, part_Ce.contiguous())
        return torch.cat(parts, dim=1)

    def rows_at_first(self, part_Ce: Tensor) -> Tensor | None:
        """The same rows with all columns [C, E] on the first rank, None on the others."""
        if self.world == 1:
            return part_Ce
        parts = [torch.empty_like(part_Ce) for _ in range(self.world)] if self.first else None
        dist.gather(part_Ce.contiguous(), parts, dst=0)
        return torch.cat(parts, dim=1) if parts else None

    def exchange_rows(self, part_RCe: Tensor) -> Tensor:
        """Of R blocks of rows, of which each rank has its columns, block r with all columns [C, E] on rank r."""
        if self.world == 1:
            return part_RCe[0]
        received_RCe = torch.empty_like(part_RCe)
        dist.all_to_all_single(received_RCe, part_RCe.contiguous())
        return received_RCe.transpose(0, 1).flatten(1)
