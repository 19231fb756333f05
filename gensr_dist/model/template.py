"""The text of a prompt's template, checked before any tokenizer is there: configs are read without torch."""

import re
import string
from collections.abc import Iterable
from typing import Literal

from gensr_dist.errors import InputError

SLOTS = ("history_cf", "history_text", "item_cf", "item_text")
# What the tokenizers of T5 take out of a text.
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>", *(f"<extra_id_{number}>" for number in range(100)))


def check_template(
    template: str, task: Literal["recommendation", "search"], special_tokens: Iterable[str] = SPECIAL_TOKENS
) -> None:
    """Make sure that a task's template can be filled in.

    Args:
        template: text around slots.
        task: whose template it is; that of search holds the query.
        special_tokens: of the tokenizer, which must not stand in the text.

    Raises:
        InputError: it lacks a slot, holds one twice or an unknown one, has no text before the first, has the query
            after it or touching other letters, or holds a special token.
    """
    key = f"model.prompts.{task}"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(key, f"{template!r} is not a template ({error})", "write {{ and }} for braces") from None
    names = [
        name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        for _, name, form, conversion in parts
        if name is not None
    ]
    if unknown := sorted(set(names) - {*SLOTS, "query"}):
        raise InputError(key, f"unknown slot {{{unknown[0]}}}", f"use {', '.join('{' + s + '}' for s in SLOTS)}")
    for name in SLOTS:
        if names.count(name) != 1:
            raise InputError(key, f"expected {{{name}}} once, found {names.count(name)}", "fix the template")
    if task == "recommendation" and "query" in names:
        raise InputError(key, "{query} stands in the recommendation prompt", "remove it")
    if task == "search":
        if names.count("query") != 1 or names[0] != "query":
            raise InputError(key, "expected {query} once, before the first slot", "move {query} to the front")
        # Tokens of a query are those that it has in the prompt only where no other letters touch it.
        if not re.search(r"(^|\s)\{query\}\s", template):
            raise InputError(key, "expected white space around {query}", "put a space on either side")
    text, first_slot, _, _ = parts[0]
    if first_slot in SLOTS and not text.strip():
        raise InputError(key, "expected text before the first slot", "begin the template with an instruction")
    for special in special_tokens:
        if special in template:
            raise InputError(key, f"the text holds the special token {special}", "remove it")
