"""The trained baselines by name.

A baseline is one file in `models/` and one line here.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from gensr_dist.baselines.contract import Baseline, LogFacts, Settings
from gensr_dist.baselines.models.nrhub import NRHUB, NRHUBSettings
from gensr_dist.baselines.models.qem import QEM, QEMSettings
from gensr_dist.baselines.models.sasrec import SASRec, SASRecSettings
from gensr_dist.baselines.models.seqrec import SeqRec, SeqRecSettings
from gensr_dist.baselines.models.sesrec import SESRec, SESRecSettings
from gensr_dist.baselines.models.unifiedssr import UnifiedSSR, UnifiedSSRSettings
from gensr_dist.baselines.models.unisar import UniSAR, UniSARSettings
from gensr_dist.baselines.models.user import USER, USERSettings
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
    # recommendation
    "sasrec": Entry("SASRec", SASRecSettings, SASRec, "arXiv 1808.09781"),
    # search
    "qem": Entry("QEM", QEMSettings, QEM, "arXiv 1908.11322"),
    # search-enhanced recommendation
    "nrhub": Entry("NRHUB", NRHUBSettings, NRHUB, "EMNLP 2019, D19-1493"),
    "seqrec": Entry("SeqRec", SeqRecSettings, SeqRec, "CIKM 2022"),
    "sesrec": Entry("SESRec", SESRecSettings, SESRec, "arXiv 2305.10822"),
    # joint
    "user": Entry("USER", USERSettings, USER, "arXiv 2109.15012"),
    "unifiedssr": Entry("UnifiedSSR", UnifiedSSRSettings, UnifiedSSR, "arXiv 2310.13921"),
    "unisar": Entry("UniSAR", UniSARSettings, UniSAR, "arXiv 2404.09520"),
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
