"""Prompt assembly against the tokenised whole text.

Dimensions: G groups, Q query, S context, P block.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError
from gensr_dist.model.config import PromptConfig
from gensr_dist.model.prompt import SENTINELS, SLOTS, TEXT_SLOT, PromptAssembler, Prompts
from tests.model.builders import WORDS, corpus_tokenizer, tokenizer_named

TOKENIZERS = pytest.mark.parametrize("tokenizer_name", ["corpus", "flan-t5"])
BLOCK = "{history_cf} {history_text} candidate: {item_cf} {item_text} click?"
TEMPLATES = [
    PromptConfig(),
    PromptConfig(
        recommendation="go: {item_text} for {item_cf} after {history_text} {history_cf}",
        search="the user typed {query} {history_cf}{history_text} now, {item_cf} is {item_text}. yes or no",
    ),
    PromptConfig(recommendation=f"r {BLOCK}", search=f"{{query}} is typed {BLOCK}"),
]


def assemble(tokenizer: TextTokenizer, config: PromptConfig, queries: list[str | None], room: int = 2) -> Prompts:
    """The prompts of one group a query (None: recommendation), with `room` more query tokens than needed."""
    tokens = [[] if query is None else ids_of(tokenizer, query) for query in queries]
    query_GQ = torch.zeros(len(queries), max(map(len, tokens)) + room, dtype=torch.long)
    for row_Q, ids in zip(query_GQ, tokens, strict=True):
        row_Q[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    task_G = torch.tensor([Behaviour.RECOMMENDATION if query is None else Behaviour.SEARCH for query in queries])
    return PromptAssembler(config, tokenizer)(task_G, query_GQ)


def ids_of(tokenizer: TextTokenizer, text: str) -> list[int]:
    return tokenizer.encode(text)


def assembled_ids(tokenizer: TextTokenizer, prompt: Prompts, group: int) -> list[int]:
    """Token ids without padding, each slot as its sentinel."""
    sentinels = [tokenizer.vocabulary[SENTINELS[slot]] for slot in SLOTS]
    block = [
        token if slot == TEXT_SLOT else sentinels[slot]
        for token, slot, kept in zip(
            prompt.block_GP[group].tolist(),
            prompt.block_slot_GP[group].tolist(),
            prompt.block_mask_GP[group].tolist(),
            strict=True,
        )
        if kept
    ]
    context_S = prompt.context_RS[prompt.request_G[group]]
    return context_S[context_S != 0].tolist() + block


def whole_text(config: PromptConfig, query: str | None) -> str:
    template = config.recommendation if query is None else config.search
    return template.format(**{**SENTINELS, "query": query})


@TOKENIZERS
@pytest.mark.parametrize("config", TEMPLATES)
def test_ids_are_those_of_the_whole_text(tokenizer_name: str, config: PromptConfig) -> None:
    tokenizer = tokenizer_named(tokenizer_name)
    queries = [None, "red lipstick", "", "matte", None, "hair oil unheardof §"]
    prompt = assemble(tokenizer, config, queries)
    for group, query in enumerate(queries):
        expected = ids_of(tokenizer, whole_text(config, query))
        assert assembled_ids(tokenizer, prompt, group) == expected


@settings(max_examples=30)
@given(
    queries=st.lists(
        st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)), min_size=1, max_size=5
    ),
    room=st.integers(0, 3),
)
def test_mixed_batches_of_any_queries(queries: list[str | None], room: int) -> None:
    tokenizer, config = corpus_tokenizer(), PromptConfig()
    prompt = assemble(tokenizer, config, queries, room)
    for group, query in enumerate(queries):
        assert assembled_ids(tokenizer, prompt, group) == ids_of(tokenizer, whole_text(config, query))
    padded = (prompt.context_RS == 0).int()
    assert (padded.diff(dim=1) <= 0).all(), "the context is padded on the left only"
    assert (padded.sum(1).min()) == 0, "one context has no padding"
    assert len(prompt.context_RS) == len(set(queries)), "a context for each distinct request"


@TOKENIZERS
def test_context_ends_where_the_first_slot_begins(tokenizer_name: str) -> None:
    tokenizer = tokenizer_named(tokenizer_name)
    prompt = assemble(tokenizer, PromptConfig(), [None, "red"])
    assert (prompt.block_slot_GP[:, 0] == SLOTS.index("history_cf")).all()
    for group in range(2):
        slots = prompt.block_slot_GP[group]
        assert slots[slots != TEXT_SLOT].tolist() == [0, 1, 2, 3]
        assert (prompt.block_GP[group][slots != TEXT_SLOT] == 0).all()


@pytest.mark.parametrize(
    ("task", "template", "message"),
    [
        ("recommendation", f"go {BLOCK} {{colour}}", "unknown slot {colour}"),
        ("recommendation", f"go {BLOCK} {{}}", "unknown slot {}"),
        ("recommendation", f"go {BLOCK} {{0}}", "unknown slot {0}"),
        ("recommendation", f"go {BLOCK} {{item_cf!r}}", "unknown slot {item_cf!r}"),
        ("search", f"go {{query}} {BLOCK} {{item_cf.real}}", "unknown slot {item_cf.real}"),
        ("search", f"go {{query:>9}} {BLOCK}", "unknown slot {query:>9}"),
        ("recommendation", f"go {BLOCK} {{", "is not a template"),
        ("recommendation", f"go {BLOCK} }}", "is not a template"),
        ("recommendation", "go {history_cf} {history_text} {item_cf}", "expected {item_text} once, found 0"),
        ("recommendation", f"go {BLOCK} {{item_cf}}", "expected {item_cf} once, found 2"),
        ("recommendation", BLOCK, "expected text before the first slot"),
        ("search", f"go {BLOCK}", "expected {query} once, before the first slot"),
        ("search", f"go {BLOCK} {{query}}", "expected {query} once, before the first slot"),
        ("search", f"go {{query}} {{query}} {BLOCK}", "expected {query} once, before the first slot"),
        ("search", f"go {{query}} {BLOCK} {{query}}", "expected {query} once, before the first slot"),
        ("search", f"go {{query}}: {BLOCK}", "expected white space around {query}"),
        ("search", f"go ({{query}} ) {BLOCK}", "expected white space around {query}"),
        ("recommendation", f"go {{query}} {BLOCK}", "{query} stands in the recommendation prompt"),
        ("recommendation", f"go {BLOCK} {{query}}", "{query} stands in the recommendation prompt"),
        ("recommendation", f"go <extra_id_2> {BLOCK}", "special token <extra_id_2>"),
        ("search", f"go </s> {{query}} {BLOCK}", "special token </s>"),
    ],
)
def test_wrong_templates_are_one_line_errors(task: str, template: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        PromptAssembler(PromptConfig(**{task: template}), corpus_tokenizer())
    assert str(error.value).startswith(f"model.prompts.{task}: ")
    assert message in error.value.problem
    assert "\n" not in str(error.value)


def test_an_instruction_that_the_tokenizer_drops_is_an_error() -> None:
    config = PromptConfig(recommendation=f"\ufeff{BLOCK}")
    with pytest.raises(InputError, match=r"^model\.prompts\.recommendation: the tokenizer leaves nothing of the text"):
        PromptAssembler(config, tokenizer_named("flan-t5"))


def test_doubled_braces_are_text() -> None:
    tokenizer = corpus_tokenizer()
    config = PromptConfig(recommendation=f"go {{{{x}}}} {BLOCK}")
    prompt = assemble(tokenizer, config, [None])
    assert assembled_ids(tokenizer, prompt, 0) == ids_of(tokenizer, whole_text(config, None))


def test_tokenizer_without_sentinels_is_an_error() -> None:
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "<extra_id_0>": 3}, unk_token="<unk>"))
    with pytest.raises(InputError, match=r"^data\.tokenizer: it lacks the token <extra_id_1>; "):
        PromptAssembler(PromptConfig(), TextTokenizer({"tokenizer.json": words.to_str().encode()}))
