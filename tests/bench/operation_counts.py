"""Floating-point operations of ours and of the reference, counted by hand.

By hand for `small` (D = 512, I = 384 = 6 heads of 64, F = 1,024, 8 + 8 layers, V = 32,128), forward, in millions, a
product of matrices counted as 2 operations a term. The reference, a candidate, histories padded to N = 20 x 20 title
tokens and prompts to M = 95:

    history      16 N D^2 + 4 N^2 D                    2,005
    filter       4 N D^2 + 2 D^2 + 4 N D                 421
    likeness     2 L (E + D) + 4 R D                       0
    towers       4 (E + D) H + 4 D H                       0
    late         2 (Q + T) D K + 2 Q T K                   2
    encoder      8 (2 M (4 D I + 3 D F) + 4 M^2 I)     3,697
    decoder      8 (4 M D I + 8 D I + 4 D I + 6 D F)     641
    head         2 D V                                    33
    CF view      of width 64 and 20 items                  2
    together                                           6,804

Ours has no padding, encodes the history (5.7 items, 99 title tokens) and the context (8 tokens) once a group, and 4
prompt tokens a candidate. A candidate in a group of 5 in a batch of 12 groups, and of 100 in a batch of two that are
only scored:

    history      (16 n D^2 + 4 n^2 D) / C                            87      4
    filter       2 D^2 + 4 n D + 4 n D^2 / C, or less                 2      2
    likeness     2 l (E + D) + 4 R D                                  0      0
    towers       2 D H + 2 ((U + 1) (E + D) H + D H) / C              0      0
    late         2 (W D K + A G W K) / C                              2      1
    encoder      8 (2 (P + S / C) (4 D I + 3 D F) + attention)      212    155
    decoder      8 (4 D I + 8 D I + 24 (S + P) D + 6 D F)            45     45
    head         2 D V, or 4 D                                       33      0
    together                                                        383    207

So 17.8 times fewer than the reference in training and 32.8 times in scoring. A training step is three times its forward
pass: every product has a gradient to both sides.

Dimensions: G groups, C candidates, S context tokens, P block tokens, n title tokens and l items of a history, L items
of a padded one, Q query tokens, T title tokens, K width of their comparison, R hidden width of the likeness to single
interactions, E width of a CF vector, H of the match towers. Of a group, without those of earlier ones: U items
(11 and 106), W tokens of titles and prompts (175 and 1,600), A of its query (3: half of the groups search for 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gensr_dist.bench.reference_rows import PROMPT, ReferenceCollator
from gensr_dist.bench.synthetic import HISTORY, QUERY, TITLE
from gensr_dist.data.batches.batch import Batch
from gensr_dist.model.config import SIZES, ModelConfig
from gensr_dist.model.history_match import FEATURES, HIDDEN
from gensr_dist.model.match import WIDTH as TOWER
from gensr_dist.model.term_match import COMPARED, HEADS

TRAINING = 3  # passes of a training step


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the count by hand depends on, beside lengths."""

    width: int  # D
    heads: int  # of T5
    inner: int  # I, heads times their width
    feed_forward: int  # F
    encoder_layers: int
    decoder_layers: int
    vocabulary: int  # V
    cf_width: int
    semantic_heads: int
    pooled: bool  # history of mean title vectors

    @classmethod
    def of(cls, model: ModelConfig, vocabulary: int, cf_width: int) -> "Sizes":
        """Of a model whose backbone is one of ours."""
        width, head_width, heads, feed_forward, encoder_layers, decoder_layers = SIZES[model.backbone]
        return cls(
            width=width,
            heads=heads,
            inner=heads * head_width,
            feed_forward=feed_forward,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            vocabulary=vocabulary,
            cf_width=cf_width,
            semantic_heads=model.semantic_heads,
            pooled=model.semantic_history == "pooled",
        )

    @property
    def block(self) -> int:
        """Operations of a token in an encoder layer, without attention over others."""
        return 2 * (4 * self.width * self.inner + 3 * self.width * self.feed_forward)

    @property
    def tower(self) -> int:
        """Operations of a tower for one user or item, without the query."""
        return 2 * (self.cf_width + self.width) * TOWER


@dataclass(frozen=True)
class GroupTokens:
    """Lengths of a group, without padding."""

    context: int  # S; 0 where an earlier group has the same context
    attended: int  # S of what its blocks attend to
    block: int  # P
    items: int  # of the history
    titles: int  # n
    query: int  # Q; 0 of a recommendation
    new_terms: int  # A: distinct tokens of the query that no earlier group asks for
    new_words: int  # W: distinct tokens of titles and prompts that no earlier group has
    new_items: int  # U: distinct items of history and candidates that no earlier group has

    @classmethod
    def of_batch(cls, batch: Batch, collator: ReferenceCollator, *, share_contexts: bool) -> list["GroupTokens"]:
        """Lengths of each group of a batch."""
        rows = collator(batch)
        found: list[GroupTokens] = []
        seen: set[tuple[int, ...]] = set()
        terms, words, items = _Distinct(), _Distinct(), _Distinct()
        for g in range(len(batch.task_G)):
            prompt = rows.prompt_BM[g * rows.candidates]
            first_slot = int((prompt < 0).nonzero()[0])
            context = tuple(prompt[:first_slot].tolist())
            history_L = batch.history_GL[g][batch.history_GL[g] != 0]
            item_X = torch.cat([history_L, batch.candidate_GC[g]])
            query_Q = rows.query_BQ[g * rows.candidates]
            found.append(
                cls(
                    context=0 if share_contexts and context in seen else first_slot,
                    attended=first_slot,
                    block=int((prompt != 0).sum()) - first_slot,
                    items=len(history_L),
                    titles=int((batch.title_UT[history_L] != 0).sum()),
                    query=int((query_Q != 0).sum()),
                    new_terms=terms.add(query_Q),
                    new_words=words.add(torch.cat([batch.title_UT[item_X].flatten(), prompt.clamp_min(0)])),
                    new_items=items.add(item_X),
                )
            )
            seen.add(context)
        return found


class _Distinct:
    """Numbers other than 0, each counted where it is first met."""

    def __init__(self) -> None:
        self.seen = {0}

    def add(self, number_X: Tensor) -> int:
        """How many of them are new."""
        before = len(self.seen)
        self.seen.update(number_X.tolist())
        return len(self.seen) - before


def reference_row(sizes: Sizes, *, answer_logits: bool = True) -> int:
    """Forward operations of a candidate of the reference, counted by hand.

    Args:
        sizes: of the model.
        answer_logits: without them the head is left out.
    """
    D, inner, M = sizes.width, sizes.inner, PROMPT
    N = HISTORY if sizes.pooled else HISTORY * TITLE
    history = _history(N, D) + _history(HISTORY, sizes.cf_width)
    filters = sum(4 * n * d * d + 2 * d * d + 4 * n * d for n, d in ((N, D), (HISTORY, sizes.cf_width)))
    match = _history_match(sizes, HISTORY) + 2 * sizes.tower + 4 * D * TOWER
    term_match = 2 * (QUERY + TITLE) * D * COMPARED + 2 * QUERY * TITLE * COMPARED
    term_match += 2 * QUERY * (COMPARED + 1) * HEADS + 2 * (HEADS + 1) * D
    encoder = sizes.encoder_layers * (M * sizes.block + 4 * M * M * inner)
    cross = 4 * M * D * inner + 4 * D * inner + 4 * M * inner
    decoder = sizes.decoder_layers * (8 * D * inner + 4 * inner + cross + 6 * D * sizes.feed_forward)
    head = 2 * D * sizes.vocabulary if answer_logits else 0
    return history + filters + match + term_match + encoder + decoder + head + 6 * sizes.cf_width * D


def our_rows(sizes: Sizes, groups: Sequence[GroupTokens], candidates: int, *, answer_logits: int) -> int:
    """Forward operations of groups under `scoring: shared`, without any padding, counted by hand.

    Args:
        sizes: of the model.
        groups: lengths of each.
        candidates: C.
        answer_logits: a candidate: V for the likelihood, 2 for the score.
    """
    D, inner = sizes.width, sizes.inner
    total = our_match(sizes, groups, candidates) + our_term_match(sizes, groups, candidates)
    total += our_history_match(sizes, groups, candidates)
    for group in groups:
        n = group.items if sizes.pooled else group.titles
        total += _history(n, D) + _history(group.items, sizes.cf_width)
        absorbed = candidates * (6 * D * D + 4 * sizes.semantic_heads * n * D)
        projected = candidates * (2 * D * D + 4 * n * D) + 4 * n * D * D
        total += min(absorbed, projected)
        seen = group.attended + group.block
        tokens = group.context + candidates * group.block
        attended = group.context * group.attended + candidates * group.block * seen
        total += sizes.encoder_layers * (tokens * sizes.block + 4 * attended * inner)
        cross = 8 * D * inner + 4 * sizes.heads * seen * D
        layer = 4 * D * inner + cross + 6 * D * sizes.feed_forward
        total += candidates * (sizes.decoder_layers * layer + 2 * D * answer_logits + 4 * sizes.cf_width * D)
    return total


def our_history_match(sizes: Sizes, groups: Sequence[GroupTokens], candidates: int) -> int:
    """What of `our_rows` is the likeness to single interactions."""
    return sum(candidates * _history_match(sizes, group.items) for group in groups)


def our_match(sizes: Sizes, groups: Sequence[GroupTokens], candidates: int) -> int:
    """What of `our_rows` is the match towers'."""
    towers = (len(groups) + sum(group.new_items for group in groups)) * sizes.tower
    return towers + len(groups) * (1 + candidates) * 2 * sizes.width * TOWER


def our_term_match(sizes: Sizes, groups: Sequence[GroupTokens], candidates: int) -> int:
    """What of `our_rows` is the late interaction's."""
    D = sizes.width
    terms, words = sum(group.new_terms for group in groups), sum(group.new_words for group in groups)
    features = sum(candidates * 2 * (group.query * HEADS + (HEADS + 1) * D) for group in groups if group.query)
    return 2 * words * D * COMPARED + 2 * terms * (words + HEADS) * COMPARED + features


def _history(tokens: int, width: int) -> int:
    """Of a history encoder: 3 + 1 + 4 square matrices a token, and attention."""
    return 16 * tokens * width * width + 4 * tokens * tokens * width


def _history_match(sizes: Sizes, items: int) -> int:
    """Of a candidate's likeness to single interactions in both views: cosines, three sums of them, and two layers."""
    cosines = 2 * items * (sizes.cf_width + sizes.width)
    return cosines + 2 * 2 * (3 * items + FEATURES * HIDDEN + HIDDEN * sizes.width)
