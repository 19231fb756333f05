"""One step of LightGCN on the columns of a rank: every table exists once, every temporary is bounded.

Resident are six tables of nodes x columns: the vectors, Adam's two moments, the gradient and two to propagate in.

Dimensions: N nodes (users first), E width, e columns of this rank, V users, I items,
B edges of a step, M = 2 B pairs of a step, C edges or rows of a chunk.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn.models.lightgcn import BPRLoss, LightGCN

from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.lightgcn import layer_mean, normalised_adjacency
from gensr_dist.graph.ranks import ColumnRanks

INIT_STD = (
    0.1  # of the LightGCN authors' code; Xavier's range for so tall a table is ten times smaller and starts slowly
)
EDGES_AT_ONCE = 1 << 14  # whose vectors are gathered together: 4 MiB an array at 64 columns
ROWS_AT_ONCE = 1 << 16
TABLES = ("vectors", "moment_1", "moment_2")


class ColumnTrainer:
    """Model, optimizer and graph of one rank.

    Gradients of a rank's columns need no other rank: scores are sums over columns, so d(loss) / d(score) is the same
    everywhere, and the rest of the chain rule acts on each column alone.

    Args:
        train: edges; all ranks have all of them.
        config: settings.
        seed: of the first vectors, which do not depend on the number of ranks.
        ranks: who owns which columns.

    Raises:
        InputError: the number of ranks does not divide the width.
    """

    def __init__(self, train: Edges, config: LightGCNConfig, seed: int, ranks: ColumnRanks) -> None:
        self.config, self.ranks, self.users, self.items = config, ranks, train.users, train.items
        self.columns = ranks.columns(config.width)
        self.adjacency_NN = normalised_adjacency(train).to(ranks.device)
        nodes, width = train.users + train.items, self.columns.stop - self.columns.start
        with torch.device("meta"):  # its own first vectors are not wanted
            self.model = LightGCN(nodes, width, config.layers, normalize=False)
        self.model.to_empty(device=ranks.device)
        self.model.alpha.fill_(1 / (config.layers + 1))
        self.weight_Ne = self.model.embedding.weight
        self._draw_first_vectors(seed)
        # fused: no temporaries, and many times faster on the CPU than the loop over tensor operations
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.optimizer.state[self.weight_Ne] = {
            "step": torch.zeros((), device=ranks.device),
            "exp_avg": torch.zeros_like(self.weight_Ne),
            "exp_avg_sq": torch.zeros_like(self.weight_Ne),
        }
        self.gradient_Ne = torch.empty_like(self.weight_Ne, requires_grad=False)
        self.buffers = (torch.empty_like(self.gradient_Ne), torch.empty_like(self.gradient_Ne))
        self.bpr = BPRLoss()

    @property
    def steps(self) -> int:
        """Finished optimizer steps."""
        return int(self.optimizer.state[self.weight_Ne]["step"])

    @steps.setter
    def steps(self, steps: int) -> None:
        self.optimizer.state[self.weight_Ne]["step"].fill_(steps)

    @property
    def tables(self) -> Mapping[str, Tensor]:
        """All that training changes: the vectors and Adam's moments [N, e], by name of TABLES, in place."""
        state = self.optimizer.state[self.weight_Ne]
        return dict(zip(TABLES, (self.weight_Ne.data, state["exp_avg"], state["exp_avg_sq"]), strict=True))

    @torch.no_grad()
    def propagated(self) -> Tensor:
        """Propagated vectors [N, e], in a buffer that the next step overwrites."""
        return layer_mean(self.weight_Ne, self.adjacency_NN, self.config.layers, self.buffers)

    @torch.no_grad()
    def step(self, user_B: np.ndarray, positive_B: np.ndarray, negative_B: np.ndarray) -> float:
        """One update; the loss before it, the same on all ranks.

        Args:
            user_B: int64 users, ascending.
            positive_B: int64 items, edges of the users.
            negative_B: int64 items that are none.
        """
        device = self.ranks.device
        user = torch.from_numpy(user_B).to(device)
        item_B2 = torch.from_numpy(np.stack([positive_B, negative_B], axis=1)).to(device)
        count_N = torch.cat([user.bincount(minlength=self.users), item_B2.flatten().bincount(minlength=self.items)])
        count_N = count_N.float()
        l2 = self.config.l2 / len(user_B)

        out_Ne = self.propagated()
        margin_B, square = self._margins(out_Ne, user, item_B2, count_N)
        loss, slope_B = self._loss(margin_B)
        self._gradient_of_margins(out_Ne, user, item_B2, slope_B)
        gradient_Ne = layer_mean(self.gradient_Ne, self.adjacency_NN, self.config.layers, self.buffers)
        gradient_Ne.addcmul_(self.weight_Ne, count_N[:, None], value=2 * l2)
        self.weight_Ne.grad = gradient_Ne
        self.optimizer.step()
        self.weight_Ne.grad = None
        return loss + l2 * square

    def _draw_first_vectors(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for part_Ce in self.weight_Ne.data.split(ROWS_AT_ONCE):
            drawn_CE = torch.empty(len(part_Ce), self.config.width).normal_(std=INIT_STD, generator=generator)
            part_Ce.copy_(drawn_CE[:, self.columns])

    def _margins(self, out_Ne: Tensor, user_B: Tensor, item_B2: Tensor, count_N: Tensor) -> tuple[Tensor, float]:
        """Score of the positive minus that of the negative [B]; sum of the squares of the nodes' first vectors."""
        part = torch.zeros(len(user_B) + 1, device=out_Ne.device)
        margin_B, square = part[:-1], part[-1]
        item_Ie = out_Ne[self.users :]
        for margin_C, user_C, item_C2 in zip(
            *(of.split(EDGES_AT_ONCE) for of in (margin_B, user_B, item_B2)), strict=True
        ):
            difference_Ce = item_Ie[item_C2[:, 0]].sub_(item_Ie[item_C2[:, 1]])
            margin_C.copy_(difference_Ce.mul_(out_Ne[user_C]).sum(-1))
        if self.config.l2:
            for weight_Ce, count_C in zip(self.weight_Ne.split(ROWS_AT_ONCE), count_N.split(ROWS_AT_ONCE), strict=True):
                square += torch.linalg.vector_norm(weight_Ce, dim=1).square_().dot(count_C)
        self.ranks.add_up(part)  # all that ranks tell each other in a step
        return margin_B, float(square)

    def _loss(self, margin_B: Tensor) -> tuple[float, Tensor]:
        """BPR loss without the regulariser and its derivative [B] by the margins."""
        with torch.enable_grad():
            margin_B = margin_B.detach().requires_grad_()
            loss = self.bpr(margin_B, torch.zeros((), device=margin_B.device))
            (slope_B,) = torch.autograd.grad(loss, margin_B)
        return float(loss), slope_B

    def _gradient_of_margins(self, out_Ne: Tensor, user_B: Tensor, item_B2: Tensor, slope_B: Tensor) -> None:
        """Derivative by the propagated vectors, into `gradient_Ne`.

        It is a product with the sparse matrix of slopes and its transpose, several times faster than adding up rows.
        """
        slope_B2 = torch.stack([slope_B, -slope_B], dim=1)
        user_gradient_Ve, item_gradient_Ie = self.gradient_Ne.split([self.users, self.items])
        user_Ve, item_Ie = out_Ne.split([self.users, self.items])
        item_M, slope_M = item_B2.flatten(), slope_B2.flatten()
        slope_VI = self._sparse(user_B.repeat_interleave(2), item_M, slope_M, self.users, self.items)
        torch.mm(slope_VI, item_Ie, out=user_gradient_Ve)
        order_M = item_M.argsort(stable=True)
        slope_IV = self._sparse(item_M[order_M], user_B[order_M // 2], slope_M[order_M], self.items, self.users)
        torch.mm(slope_IV, user_Ve, out=item_gradient_Ie)

    def _sparse(self, row_M: Tensor, column_M: Tensor, value_M: Tensor, rows: int, columns: int) -> Tensor:
        """CSR matrix of entries by ascending rows; entries of the same place add up."""
        index = self.adjacency_NN.col_indices().dtype
        row_start = torch.zeros(rows + 1, dtype=index, device=row_M.device)
        torch.cumsum(row_M.bincount(minlength=rows), dim=0, dtype=index, out=row_start[1:])
        return torch.sparse_csr_tensor(
            row_start, column_M.to(index), value_M, size=(rows, columns), check_invariants=False
        )
