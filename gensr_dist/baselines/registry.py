"""The trained baselines by name.

A baseline is one file in `models/` and one line here.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from gensr_dist.baselines.contract import Baseline, LogFacts, Settings
from gensr_dist.baselines.models.aem import AEM, AEMSettings
from gensr_dist.baselines.models.bert4rec import BERT4Rec, BERT4RecSettings
from gensr_dist.baselines.models.bsr import BSR, BSRSettings
from gensr_dist.baselines.models.collm import CoLLM, CoLLMSettings
from gensr_dist.baselines.models.copps import CoPPS, CoPPSSettings
from gensr_dist.baselines.models.din import DIN, DINSettings
from gensr_dist.baselines.models.fmlp import FMLP, FMLPSettings
from gensr_dist.baselines.models.gru4rec import GRU4Rec, GRU4RecSettings
from gensr_dist.baselines.models.hem import HEM, HEMSettings
from gensr_dist.baselines.models.hstu import HSTU, HSTUSettings
from gensr_dist.baselines.models.idgenrec import IDGenRec, IDGenRecSettings
from gensr_dist.baselines.models.jsr import JSR, JSRSettings
from gensr_dist.baselines.models.nrhub import NRHUB, NRHUBSettings
from gensr_dist.baselines.models.qem import QEM, QEMSettings
from gensr_dist.baselines.models.sasrec import SASRec, SASRecSettings
from gensr_dist.baselines.models.seqrec import SeqRec, SeqRecSettings
from gensr_dist.baselines.models.sesrec import SESRec, SESRecSettings
from gensr_dist.baselines.models.simgcl import SimGCL, SimGCLSettings
from gensr_dist.baselines.models.tem import TEM, TEMSettings
from gensr_dist.baselines.models.two_tower import TwoTower, TwoTowerSettings
from gensr_dist.baselines.models.unifiedssr import UnifiedSSR, UnifiedSSRSettings
from gensr_dist.baselines.models.unisar import UniSAR, UniSARSettings
from gensr_dist.baselines.models.user import USER, USERSettings
from gensr_dist.baselines.models.zam import ZAM, ZAMSettings
from gensr_dist.errors import InputError


@dataclass(frozen=True)
class Entry:
    """A baseline that can be trained."""

    title: str
    settings: type[Settings]
    model: type[Baseline]
    paper: str

    def build(self, settings: Settings, facts: LogFacts) -> Baseline:
        """The model with new weights, from the global random state.

        Raises:
            InputError: its settings do not go together.
        """
        make: Callable[[Settings, LogFacts], Baseline] = self.model
        try:
            return make(settings, facts)
        except ValueError as error:
            raise InputError(f"baseline {self.title}", str(error), "change one of its settings") from None


BASELINES: dict[str, Entry] = {
    # Recommendation
    "din": Entry("DIN", DINSettings, DIN, "arXiv 1706.06978"),
    "gru4rec": Entry("GRU4Rec", GRU4RecSettings, GRU4Rec, "arXiv 1511.06939"),
    "sasrec": Entry("SASRec", SASRecSettings, SASRec, "arXiv 1808.09781"),
    "bert4rec": Entry("BERT4Rec", BERT4RecSettings, BERT4Rec, "arXiv 1904.06690"),
    "fmlp": Entry("FMLP-Rec", FMLPSettings, FMLP, "arXiv 2202.13556"),
    "hstu": Entry("HSTU", HSTUSettings, HSTU, "arXiv 2402.17152"),
    "simgcl": Entry("SimGCL", SimGCLSettings, SimGCL, "arXiv 2112.08679"),
    "collm": Entry("CoLLM", CoLLMSettings, CoLLM, "arXiv 2310.19488"),
    "idgenrec": Entry("IDGenRec", IDGenRecSettings, IDGenRec, "arXiv 2403.19021"),
    # Search
    "qem": Entry("QEM", QEMSettings, QEM, "arXiv 1908.11322"),
    "hem": Entry("HEM", HEMSettings, HEM, "SIGIR 2017"),
    "aem": Entry("AEM", AEMSettings, AEM, "arXiv 1908.11322"),
    "zam": Entry("ZAM", ZAMSettings, ZAM, "arXiv 1908.11322"),
    "tem": Entry("TEM", TEMSettings, TEM, "arXiv 2005.08936"),
    "copps": Entry("CoPPS, reconstructed", CoPPSSettings, CoPPS, "10.1145/3580305.3599287"),
    # Recommendation that reads searches
    "nrhub": Entry("NRHUB", NRHUBSettings, NRHUB, "EMNLP 2019, D19-1493"),
    "seqrec": Entry("SeqRec", SeqRecSettings, SeqRec, "CIKM 2022"),
    "sesrec": Entry("SESRec", SESRecSettings, SESRec, "arXiv 2305.10822"),
    # Both tasks
    "jsr": Entry("JSR", JSRSettings, JSR, "DESIRES 2018"),
    "two_tower": Entry("Two towers", TwoTowerSettings, TwoTower, "10.1145/3298689.3346996"),
    "bsr": Entry("BSR", BSRSettings, BSR, "arXiv 2410.16823"),
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
