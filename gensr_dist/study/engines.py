"""Who does the trials: processes of this machine, or a Ray cluster."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from gensr_dist.study.spec import TrialSpec

LOG = "log.txt"  # of a trial: all that it printed
_POLL = 0.2  # seconds
# Without the current folder, which `-m` and `-c` put first: modules that lie there are the user's.
_BEGIN = """import sys
sys.path[:] = filter(None, sys.path)
from gensr_dist.study.trial import main
sys.exit(main(sys.argv[1:]))
"""


class TrialEngine(Protocol):
    """Starts trials and says which has ended."""

    places: int  # trials at a time

    def start(self, spec: TrialSpec) -> Any:
        """Begin a trial."""

    def wait(self, started: Sequence[Any]) -> tuple[int, str]:
        """Place of one that has ended, and what went wrong with it; empty where nothing did."""

    def stop(self, started: Any) -> None:
        """End a trial that nobody waits for any more; its checkpoints stay."""


class LocalTrials:
    """A process a trial, one at a time: a trial that takes all memory takes no other along."""

    places = 1

    def start(self, spec: TrialSpec) -> subprocess.Popen[bytes]:
        """As `TrialEngine.start`."""
        with (Path(spec.folder) / LOG).open("ab") as log:
            command = [sys.executable, "-c", _BEGIN, spec.folder, str(os.getpid())]
            path = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)  # where this process finds modules
            environment = {**os.environ, "PYTHONPATH": path}
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def wait(self, started: Sequence[subprocess.Popen[bytes]]) -> tuple[int, str]:
        """As `TrialEngine.wait`."""
        while True:
            for place, process in enumerate(started):
                code = process.poll()
                if code is not None:
                    return place, "" if code == 0 else f"ended with code {code}"
            time.sleep(_POLL)

    def stop(self, started: subprocess.Popen[bytes]) -> None:
        """As `TrialEngine.stop`."""
        started.terminate()
        started.wait()


def last_line(folder: Path) -> str:
    """What a trial printed last, for a message."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
