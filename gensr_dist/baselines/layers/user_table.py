"""A learnt vector a user.

Dimensions: G groups, D width.
"""

from torch import Tensor, nn


class UserTable(nn.Module):
    """Vectors of users; one more for users without a number, such as those of a live request.

    Args:
        users: of the log.
        width: D.
        std: of the vectors at the beginning.
    """

    def __init__(self, users: int, width: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.table = nn.Embedding(users + 1, width)
        nn.init.normal_(self.table.weight, std=std)

    def forward(self, user_G: Tensor) -> Tensor:
        """Vectors [G, D] of users; -1 is one without a number."""
        vector_GD: Tensor = self.table(user_G + 1)
        return vector_GD
