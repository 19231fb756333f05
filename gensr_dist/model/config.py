"""Settings of the model."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

# Backbones without pretrained weights.
SIZES = {
    # name: d_model, d_kv, heads, d_ff, encoder layers, decoder layers
    "nano": (128, 32, 4, 256, 2, 2),
    "mini": (256, 32, 8, 512, 4, 4),
    "small": (512, 64, 6, 1024, 8, 8),  # flan-t5-small
    "base": (768, 64, 12, 2048, 12, 12),  # flan-t5-base
}

# What the probability of an answer is a share of: every token that the model could say (eq. 9), or the two answers.
Likelihood = Literal["vocabulary", "answers"]

# Where prompts lie: one a candidate, as in the paper, or one context for the candidates of a group.
Scoring = Literal["joint", "shared"]


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """One template a task (eq. 7): texts around four embedding slots; the search template also holds the query.

    What stands before the first slot costs little, what stands after it is paid for every candidate: slots side by side
    make four tokens of one.
    """

    recommendation: str = "Recommend to users who like {history_cf}{history_text}{item_cf}{item_text}"
    """Of recommendation rows."""
    search: str = "Search {query} for users who like {history_cf}{history_text}{item_cf}{item_text}"
    """Of search rows; it must hold {query}."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """GenSR (section 4 of the paper); the switches are its ablations."""

    backbone: str = "nano"
    """`nano`, `mini`, `small`, `base`: built from a config; else a Hub name or a folder (google/flan-t5-base)."""
    scoring: Scoring = "shared"
    """`joint`: the paper's prompt a candidate; `shared`: one context a group."""
    semantic_history: Literal["tokens", "pooled"] = "tokens"
    """All title tokens of the history (the paper), or one mean vector a title."""
    cf_heads: Annotated[int, Field(ge=1)] = 4
    """History encoder and soft filter of the CF view."""
    semantic_heads: Annotated[int, Field(ge=1)] = 4
    """History encoder and soft filter of the semantic view."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Of T5 and the history encoders."""
    cf_view: bool = True
    """Off: no CF vectors, and no counts of visits."""
    semantic_view: bool = True
    """Off: no texts of histories, and no counts of their words."""
    soft_filter: bool = True
    """Off: mean pooling of the history."""
    history_match: bool = True
    """Likeness to single interactions, see history_match.py; not in the paper."""
    match: bool = True
    """Towers whose product T5 is told, see match.py; not in the paper."""
    term_match: bool = True
    """Which words of a query a title has, see term_match.py; not in the paper."""
    query_evidence: bool = True
    """Counts of a query's words in texts and past searches, see data/query_evidence.py; not in the paper."""
    history_evidence: bool = True
    """Counts of who met history and candidate, and of their words, see data/history_evidence.py; not in the paper."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    """See `PromptConfig`."""
