"""Sequences without their padding: layers that look at one token at a time compute nothing for it.

Dimensions: B sequences, N places of each, T tokens of all.
"""

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import Self


@dataclass(frozen=True)
class Packing:
    """Which places of a padded tensor [B, N, ...] hold a token.

    Made on the host before the batch goes to the device, where counting tokens would wait for it.
    """

    place_T: Tensor | None  # int64, b * N + n of each token; None where every place holds one, in order
    sequences: int  # B
    width: int  # N

    @classmethod
    def of(cls, mask_BN: Tensor) -> Self:
        """Of a mask on the host, True at tokens."""
        place_T = mask_BN.flatten().nonzero().flatten()
        return cls(None if place_T.numel() == mask_BN.numel() else place_T, *mask_BN.shape)

    @property
    def tokens(self) -> int:
        """T."""
        return self.sequences * self.width if self.place_T is None else self.place_T.numel()

    def pack(self, x: Tensor) -> Tensor:
        """The tokens [T, ...] of a padded tensor [B, N, ...]."""
        flat = x.flatten(0, 1)
        return flat if self.place_T is None else flat.index_select(0, self.place_T)

    def pad(self, x: Tensor) -> Tensor:
        """The padded tensor [B, N, ...] of tokens [T, ...], zeros at the padding."""
        if self.place_T is not None:
            empty = x.new_zeros(self.sequences * self.width, *x.shape[1:])
            x = empty.index_copy(0, self.place_T, x)
        return x.unflatten(0, (self.sequences, self.width))
