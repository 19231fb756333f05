"""The trained baselines by name.

A baseline is one file in `models/` and one line here.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from gensr_dist.baselines.contract import Baseline, LogFacts, Settings
from gensr_dist.baselines.models.bsr import BSR, BSRSettings
from gensr_dist.baselines.models.collm import CoLLM, CoLLMSettings
from gensr_dist.baselines.models.idgenrec import IDGenRec, IDGenRecSettings
from gensr_dist.baselines.models.qem import QEM, QEMSettings
from gensr_dist.baselines.models.sasrec import SASRec, SASRecSettings
from gensr_dist.errors import InputError


@dataclass(frozen=True)
class Entry:
    """A baseline that can be trained."""

    title: str
    settings: type[Settings]
    model: type[Baseline]
    paper: str

    def build(self, settings: Settings, facts: LogFacts) -> Baseline:
        """The model with new weights, from the global random state."""
        make: Callable[[Settings, LogFacts], Baseline] = self.model
        return make(settings, facts)


BASELINES: dict[str, Entry] = {
    # Recommendation
    "sasrec": Entry("SASRec", SASRecSettings, SASRec, "arXiv 1808.09781"),
    "collm": Entry("CoLLM", CoLLMSettings, CoLLM, "arXiv 2310.19488"),
    "idgenrec": Entry("IDGenRec", IDGenRecSettings, IDGenRec, "arXiv 2403.19021"),
    # Search
    "qem": Entry("QEM", QEMSettings, QEM, "arXiv 1908.11322"),
    # Joint
    "bsr": Entry("BSR", BSRSettings, BSR, "arXiv 2410.16823"),
}


def entry(name: str) -> Entry:
    """The baseline of a name.

    Raises:
        InputError: there is none; names the nearest one.
    """
    found = BASELINES.get(name)
    if found is None:
        near = difflib.get_close_matches(name, BASELINES, n=1)
        remedy = f"did you mean {near[0]}?" if near else "`gensr baseline --list` shows them"
        raise InputError(f"baseline {name!r}", "there is none of this name", remedy)
    return found
