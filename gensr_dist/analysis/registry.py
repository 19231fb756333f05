"""All analyses, in the order of a report."""

import difflib

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.gradient_conflict.analysis import GradientConflict
from gensr_dist.analysis.information.mutual_information import MutualInformation
from gensr_dist.analysis.log.analysis import LogAnalysis
from gensr_dist.analysis.soft_filter.analysis import SoftFilterAnalysis
from gensr_dist.analysis.subspaces.analysis import Subspaces
from gensr_dist.errors import InputError

ANALYSES: tuple[Analysis, ...] = (
    MutualInformation(),
    Subspaces(),
    GradientConflict(),
    SoftFilterAnalysis(),
    LogAnalysis(),
)


def analysis(name: str) -> Analysis:
    """By name.

    Raises:
        InputError: there is none of this name.
    """
    known = {each.name: each for each in ANALYSES}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
        raise InputError("NAME", f"no analysis {name!r}", remedy)
    return known[name]
