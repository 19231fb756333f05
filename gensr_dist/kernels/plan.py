"""How a Triton program is launched: grid, tiles, warps. Plans are made without a GPU, and tested by compiling them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """Launch of one program for tensors of one shape and type."""

    program: Any  # decorated by triton.jit
    cells: int  # size of the grid
    constants: dict[str, int | bool | str]
    num_warps: int
    num_stages: int

    def launch(self, *arguments: Tensor | int | float) -> None:
        """Run it on the device of the first tensor."""
        if self.cells == 0:
            return
        assert isinstance(arguments[0], Tensor)
        with torch.cuda.device_of(arguments[0]):
            self.program[(self.cells,)](
                *arguments, **self.constants, num_warps=self.num_warps, num_stages=self.num_stages
            )


def power_of_two(size: int, least: int, most: int) -> int:
    """Smallest power of two that holds `size`, within the bounds."""
    return max(least, min(most, 1 << max(0, size - 1).bit_length()))


def tiles_of(size: int, tile: int) -> int:
    """Tiles that cover `size`."""
    return -(-size // tile)
