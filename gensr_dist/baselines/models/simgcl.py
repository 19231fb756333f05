"""SimGCL (Yu et al. 2022, arXiv 2112.08679): graph convolution without the layers' own vectors, and a contrast of two
views that differ by noise alone.

h^k = A h^{k-1}, A the symmetric-normalised user-item graph of the training recommendations; a node is the mean of h^1
to h^K; score = user . item. In a view each h^k also gets noise of length eps with the signs of h^k. Loss: BPR of a
row's positive over its negative, lambda InfoNCE (temperature .2) between both views of the batch's users and of its
positives, and L2 of the batch's first vectors.

Chosen: rows are those of all trained baselines, so that a step's users and items come from them; the whole graph is
propagated once a step for BPR and once a view.

Dimensions: V users, I items, N = V + I nodes (users first), D width, G groups, C candidates, B nodes of a contrast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_REC, LogFacts, RowBaseline, Settings
from gensr_dist.baselines.layers.contrast import info_nce
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.graph.lightgcn import normalised_adjacency


@dataclass(frozen=True, kw_only=True)
class SimGCLSettings(Settings):
    """As published, with the batch of its authors' code."""

    item_input: Literal["id"] = "id"
    history: int = 1
    batch: int = 2_048
    epochs: int = 100
    layers: int = 3
    noise: float = 0.1
    """eps: length of a layer's noise."""
    contrast: float = 0.2
    """Weight lambda of the contrast."""
    temperature: float = 0.2
    l2: float = 1e-4


class _SymmetricProduct(torch.autograd.Function):
    """A x of a symmetric sparse matrix, whose transpose autograd would make again in every step."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, adjacency_NN: Tensor) -> Tensor:
        ctx.adjacency_NN = adjacency_NN
        return adjacency_NN @ x_ND

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return ctx.adjacency_NN @ grad_outputs[0].contiguous(), None


class SimGCL(RowBaseline):
    """Vectors of users and items from the graph; a user without a number scores 0."""

    tasks = ONLY_REC
    by_length = False

    def __init__(self, settings: SimGCLSettings, facts: LogFacts) -> None:
        super().__init__()
        self.settings, self.users = settings, facts.users
        self.node_ND = nn.Parameter(torch.empty(facts.users + facts.items, settings.width))
        nn.init.xavier_uniform_(self.node_ND)
        self._adjacency_NN = normalised_adjacency(facts.edges())
        self._propagated_ND: Tensor | None = None  # of the weights as they are, while they do not change

    def train(self, mode: bool = True) -> "SimGCL":
        """As of every module; forgets what was propagated."""
        self._propagated_ND = None
        return super().train(mode)

    def propagated(self, *, noise: float = 0.0) -> Tensor:
        """Mean of the layers 1 to K, [N, D]."""
        if self._adjacency_NN.device != self.node_ND.device:
            self._adjacency_NN = self._adjacency_NN.to(self.node_ND.device)
        x_ND: Tensor = self.node_ND
        layers = []
        for _ in range(self.settings.layers):
            x_ND = _SymmetricProduct.apply(x_ND, self._adjacency_NN)
            if noise:
                x_ND = x_ND + x_ND.sign() * F.normalize(torch.rand_like(x_ND), dim=1) * noise
            layers.append(x_ND)
        return torch.stack(layers).mean(0) if layers else x_ND

    def score(self, batch: ContextBatch) -> Tensor:
        """User . item, [G, C]."""
        if self.training or self._propagated_ND is None:
            self._propagated_ND = self.propagated()
        user_G, item_GC = self._nodes(batch)
        known_G = batch.user_G >= 0
        user_GD = self._propagated_ND[user_G] * known_G[:, None]
        return torch.einsum("gd,gcd->gc", user_GD, self._propagated_ND[item_GC])

    def ranking(self, batch: ContextBatch, score_GC: Tensor) -> Tensor:
        """BPR: -log s(positive - negative), the mean over negatives; [G]; 0 of padding."""
        return -F.logsigmoid(score_GC[:, :1] - score_GC[:, 1:]).mean(1) * (batch.row_G >= 0)

    def auxiliary(self, batch: ContextBatch, score_GC: Tensor) -> Mapping[str, Tensor]:
        """Contrast of both views, and L2."""
        settings, real_G = self.settings, batch.row_G >= 0
        user_G, item_GC = self._nodes(batch)
        views_ND = [self.propagated(noise=settings.noise) for _ in range(2)]
        contrast = score_GC.new_zeros(())
        for node_B in (user_G[real_G].unique(), item_GC[real_G, 0].unique()):
            contrast = contrast + info_nce(views_ND[0][node_B], views_ND[1][node_B], settings.temperature)
        first_GD = self.node_ND[torch.cat((user_G[real_G, None], item_GC[real_G]), dim=1)]
        return {
            "contrast": settings.contrast * contrast * real_G.sum(),
            "l2": settings.l2 * first_GD.square().sum(),
        }

    def _nodes(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Rows of the users [G] and of the candidates [G, C] among the nodes."""
        return batch.user_G.clamp_min(0), self.users + batch.item_U.clamp_min(0)[batch.candidate_GC]
