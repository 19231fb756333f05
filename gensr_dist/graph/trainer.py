"""One step of LightGCN on the columns of a rank: every table exists once, every temporary is bounded.

Resident are six tables of nodes x columns: the vectors, Adam's two moments, the gradient and two to propagate in.

Dimensions: N nodes (users first), E width, e columns of this rank, B edges of a step, C edges of a chunk.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn.models.lightgcn import BPRLoss

from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.edges import Edges
from gensr_dist.graph.lightgcn import SymmetricLightGCN, layer_mean, normalised_adjacency
from gensr_dist.graph.ranks import ColumnRanks

INIT_STD = (
    0.1  # of the LightGCN authors' code; Xavier's range for so tall a table is ten times smaller and starts slowly
)
EDGES_AT_ONCE = 1 << 16  # whose vectors are gathered together: 16 MiB an array at 64 columns
ROWS_AT_ONCE = 1 << 16


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
        self.config, self.ranks, self.users = config, ranks, train.users
        self.columns = ranks.columns(config.width)
        self.adjacency_NN = normalised_adjacency(train).to(ranks.device)
        nodes, width = train.users + train.items, self.columns.stop - self.columns.start
        with torch.device("meta"):  # its own first vectors are not wanted
            self.model = SymmetricLightGCN(nodes, width, config.layers)
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
        """All that training changes: the vectors and Adam's moments [N, e], by name, in place."""
        state = self.optimizer.state[self.weight_Ne]
        return {"vectors": self.weight_Ne.data, "moment_1": state["exp_avg"], "moment_2": state["exp_avg_sq"]}

    @torch.no_grad()
    def propagated(self) -> Tensor:
        """Propagated vectors [N, e], in a buffer that the next step overwrites."""
        return layer_mean(self.weight_Ne, self.adjacency_NN, self.config.layers, self.buffers)

    @torch.no_grad()
    def step(self, user_B: np.ndarray, positive_B: np.ndarray, negative_B: np.ndarray) -> float:
        """One update; the loss before it, the same on all ranks.

        Args:
            user_B: int64 users.
            positive_B: int64 items, edges of the users.
            negative_B: int64 items that are none.
        """
        node_3B = torch.from_numpy(np.stack([user_B, positive_B + self.users, negative_B + self.users]))
        node_3B = node_3B.to(self.ranks.device)
        l2 = self.config.l2 / len(user_B)

        out_Ne = self.propagated()
        score_2B, square = self._scores(out_Ne, node_3B)
        loss, slope_2B = self._loss(score_2B)
        self._gradient_of_scores(out_Ne, node_3B, slope_2B)
        gradient_Ne = layer_mean(self.gradient_Ne, self.adjacency_NN, self.config.layers, self.buffers)
        if l2:
            for node_C in node_3B.flatten().split(EDGES_AT_ONCE):
                gradient_Ne.index_add_(0, node_C, self.weight_Ne[node_C], alpha=2 * l2)
        self.weight_Ne.grad = gradient_Ne
        self.optimizer.step()
        self.weight_Ne.grad = None
        return loss + l2 * square

    def _draw_first_vectors(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for part_Ce in self.weight_Ne.data.split(ROWS_AT_ONCE):
            drawn_CE = torch.empty(len(part_Ce), self.config.width).normal_(std=INIT_STD, generator=generator)
            part_Ce.copy_(drawn_CE[:, self.columns])

    def _scores(self, out_Ne: Tensor, node_3B: Tensor) -> tuple[Tensor, float]:
        """Scores [2, B] of positives and negatives, and the sum of squares of the nodes' first vectors."""
        batch = node_3B.shape[1]
        part = torch.empty(2 * batch + 1, device=node_3B.device)
        score_2B, square = part[: 2 * batch].view(2, batch), part[2 * batch :].zero_()
        for place, (user_Ce, positive_Ce, negative_Ce) in _gathered(out_Ne, node_3B):
            score_2B[0, place] = (user_Ce * positive_Ce).sum(-1)
            score_2B[1, place] = (user_Ce * negative_Ce).sum(-1)
        if self.config.l2:
            for node_C in node_3B.flatten().split(EDGES_AT_ONCE):
                square += self.weight_Ne[node_C].square_().sum()
        self.ranks.add_up(part)  # all that ranks tell each other in a step
        return score_2B, float(square)

    def _loss(self, score_2B: Tensor) -> tuple[float, Tensor]:
        """BPR loss without the regulariser and its derivative [2, B] by the scores."""
        with torch.enable_grad():
            score_2B = score_2B.detach().requires_grad_()
            loss = self.bpr(score_2B[0], score_2B[1])
            (slope_2B,) = torch.autograd.grad(loss, score_2B)
        return float(loss), slope_2B

    def _gradient_of_scores(self, out_Ne: Tensor, node_3B: Tensor, slope_2B: Tensor) -> None:
        """Derivative by the propagated vectors, into `gradient_Ne`."""
        self.gradient_Ne.zero_()
        for place, (user_Ce, positive_Ce, negative_Ce) in _gathered(out_Ne, node_3B):
            user_C, positive_C, negative_C = node_3B[:, place]
            positive_slope_C1, negative_slope_C1 = slope_2B[:, place, None]
            self.gradient_Ne.index_add_(0, positive_C, user_Ce * positive_slope_C1)
            self.gradient_Ne.index_add_(0, negative_C, user_Ce * negative_slope_C1)
            by_user_Ce = positive_Ce.mul_(positive_slope_C1).add_(negative_Ce.mul_(negative_slope_C1))
            self.gradient_Ne.index_add_(0, user_C, by_user_Ce)


def _gathered(out_Ne: Tensor, node_3B: Tensor) -> Iterator[tuple[slice, tuple[Tensor, Tensor, Tensor]]]:
    """Chunks of a batch: their place, and the vectors [C, e] of users, positives and negatives."""
    batch = node_3B.shape[1]
    for start in range(0, batch, EDGES_AT_ONCE):
        place = slice(start, min(start + EDGES_AT_ONCE, batch))
        user_C, positive_C, negative_C = node_3B[:, place]
        yield place, (out_Ne[user_C], out_Ne[positive_C], out_Ne[negative_C])
