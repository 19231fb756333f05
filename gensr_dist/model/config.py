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
    """One template per task (eq. 7): texts around four embedding slots; the search template also holds the query.

    Text before the first slot costs little, text after it is computed for every candidate: with no text between the
    slots and after them, a candidate takes only four tokens.
    """

    recommendation: str = "Recommend to users who like {history_cf}{history_text}{item_cf}{item_text}"
    """Template of recommendation rows."""
    search: str = "Search {query} for users who like {history_cf}{history_text}{item_cf}{item_text}"
    """Template of search rows; it must hold {query}."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """GenSR (section 4 of the paper). A key that is true or false switches a part of it; false is an ablation."""

    backbone: str = "nano"
    """The T5. `nano`, `mini`, `small`, `base`: of that size with random weights; else pretrained weights, as a name on
    the Hugging Face Hub (google/flan-t5-base) or a folder."""
    scoring: Scoring = "shared"
    """`joint`: one prompt per candidate, as in the paper; `shared`: the candidates of a group share what stands before
    the first slot."""
    semantic_history: Literal["tokens", "pooled"] = "tokens"
    """What the semantic view reads. `tokens`: all title tokens of the history, as in the paper; `pooled`: one mean
    vector per title."""
    cf_heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of the history encoder and the soft filter of the CF view."""
    semantic_heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of the history encoder and the soft filter of the semantic view."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout rate of T5 and of the history encoders."""
    cf_view: bool = True
    """View of CF vectors. False: none of them, and no counts of visits."""
    semantic_view: bool = True
    """View of texts. False: no texts of histories, and no counts of their words."""
    soft_filter: bool = True
    """Pooling of the history by attention of the candidate, as in the paper. False: its mean."""
    history_match: bool = True
    """T5 is told how like a candidate is to single interactions (model/history_match.py); not in the paper."""
    match: bool = True
    """T5 is told the product of two towers, history with query and candidate (model/match.py); not in the paper."""
    term_match: bool = True
    """T5 is told which words of a query a title has (model/term_match.py); not in the paper."""
    query_evidence: bool = True
    """T5 is told counts of a query's words in texts and past searches (data/query_evidence.py); not in the paper."""
    history_evidence: bool = True
    """T5 is told how many met both history and candidate, and counts of their words (data/history_evidence.py); not in
    the paper."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    """See `PromptConfig`."""
