"""CoPPS (Dai et al. 2023, KDD, 10.1145/3580305.3599287), a reconstruction: TEM that also learns by contrast.

Total = TEM's loss + 0.1 InfoNCE(z, z'), z and z' two views of a row's history, each changed in one of four ways.

The authors' program is not within reach: this is made of the abstract and of CLtest, a program that came before it.
Deviations: their knowledge graph is not in the logs, so that the similar item of a substitution is the one among the
step's histories whose CF vector is nearest; histories have no past queries; of their three contrasts this is the one of
histories.

Chosen: views are encoded behind the vector of a query without words, or the query would tell rows apart; rows of the
same user are no negatives; rows with fewer than two items have no views; hidden and cropped items keep their positions.

Dimensions: G groups, P rows with views, L history, D width, U items of the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from gensr_dist.baselines.contract import LogFacts
from gensr_dist.baselines.layers.augmentation import changed, nearest_items
from gensr_dist.baselines.layers.contrast import info_nce
from gensr_dist.baselines.models.tem import TEM, TEMSettings
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class CoPPSSettings(TEMSettings):
    """TEM's, and of the contrast."""

    contrast: float = 0.1
    """Weight of the contrast; 0 is TEM."""
    temperature: float = 0.1
    """Divisor of the contrast's cosines; not published."""


class CoPPS(TEM):
    """The query as the history changes it; histories that mean the same are close."""

    def __init__(self, settings: CoPPSSettings, facts: LogFacts) -> None:
        super().__init__(settings, facts)
        self.contrast, self.temperature = settings.contrast, settings.temperature

    def auxiliary(self, batch: ContextBatch, score_GC: Tensor) -> Mapping[str, Tensor]:
        """The words of the positives, and the contrast of views."""
        parts = super().auxiliary(batch, score_GC)
        if not self.contrast:
            return parts
        chosen_G = (batch.row_G >= 0) & ((batch.history_GL > 0).sum(1) > 1)
        history_PL, user_P = batch.history_GL[chosen_G], batch.user_G[chosen_G]
        item_UD = self.items(batch)
        similar_U = nearest_items(history_PL, batch.item_U, batch.cf_UE)
        first_PD, second_PD = (self._view(history_PL, similar_U, item_UD) for _ in range(2))
        loss = info_nce(first_PD, second_PD, self.temperature, user_P[:, None] == user_P)
        return {**parts, "contrast": self.contrast * len(user_P) * loss}

    def _view(self, history_PL: Tensor, similar_U: Tensor, item_UD: Tensor) -> Tensor:
        slot_PL, seen_PL = changed(history_PL, similar_U)
        return self.encoded(self.query.empty_D.expand(len(slot_PL), -1), item_UD[slot_PL], seen_PL)
