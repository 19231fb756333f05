"""Opening a run for an answer imports what the answer needs: libraries that train take seconds to import."""

import subprocess
import sys

from gensr_dist.runs.folder import RunFolder

NOT_NEEDED = (
    "transformers",
    "torch._dynamo",
    "deepspeed",
    "torch_geometric",
    "ray",
    "sympy",
    "scipy.optimize",
    "pyarrow",
)
PROGRAM = """
import sys
from pathlib import Path
from gensr_dist.cli.answers import Question, answer
from gensr_dist.config.root import load_config
from gensr_dist.interface import Run
from gensr_dist.runs.folder import RunFolder

folder = RunFolder(Path(sys.argv[1]))
run = Run(folder, load_config(folder.config, done=True))
for query in (None, "red w3"):
    found = answer(run, Question(k=3, user="u1", query=query, explain=True), lambda _: None)
    assert len(found.answers.items) == 3
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


def test_what_trains_is_not_imported(run: RunFolder) -> None:
    command = [sys.executable, "-c", PROGRAM, str(run.root), *NOT_NEEDED]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == []
