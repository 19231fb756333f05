"""What `gensr recommend` and `gensr search` print."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl

from gensr_dist.cli import answers as module
from gensr_dist.cli.answers import Question
from gensr_dist.interface import Run
from gensr_dist.retrieval.answer import Answer, Answers, Attended, Reason
from gensr_dist.runs.folder import RunFolder

NASTY = "red\x1b]0;owned\x07\nnote: forged\u202e"


def test_no_control_character_of_a_log_reaches_the_terminal(tmp_path: Path) -> None:
    attended = Attended(item_id="i\r9", text=NASTY, cf=0.75, semantic=0.5)
    item = Answer(
        rank=1, item_id="i\x1b[2J", text=NASTY, score=0.5, reason=Reason(channels={"text": 3}, attended=(attended,))
    )
    answers = Answers(items=(item,), notes=("unknown words: \x1b[31m",))
    run = SimpleNamespace(
        folder=RunFolder(tmp_path),
        answerer_by=lambda _: SimpleNamespace(
            items=SimpleNamespace(item_ids=pl.Series(["i0"])), search=lambda *_, **__: answers
        ),
    )
    said: list[str] = []
    question = Question(k=1, user="u1", query="red\x1b[31m", explain=True)
    result = module.answer(cast(Run, run), question, said.append)
    module._say_items("  searches 'a\x1b[2Jb'", ["red\r\n\x9b31m", "b"], said.append)
    assert len(said) == 6
    assert all(line.isprintable() for line in said)
    assert said[2].endswith("red ]0;owned  note: forged ")
    assert said[3] == "      proposed by text 3"
    assert said[4] == "      attends 75% / 50% to i 9  red ]0;owned  note: forged "
    assert said[5] == "  searches 'a [2Jb': red   31m | b"
    assert result.query == "red\x1b[31m"  # what `--json` prints is what was asked and found
    assert dataclasses.asdict(result.answers)["items"][0]["text"] == item.text
