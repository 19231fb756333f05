"""Ranks that gather: whoever waits says for whom and where, so that a missing rank is no silent halt.

Every rank signs in at the store of the process group as soon as that listens. Those that still wait ten seconds later
look who has not, and say so again every minute.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

import torch.distributed as dist
from typing_extensions import Self

from gensr_dist.errors import say_at_once

FIRST = 10.0  # seconds of silence
AGAIN = 60.0  # seconds between later lines
_TRY = 5.0  # seconds to reach the store in one attempt
_SHOWN = 8  # ranks that are named


class Gathering:
    """Says who is awaited while its block runs, which must end when all ranks have come.

    Args:
        host: of the process group's store.
        port: of it.
        rank: of this process.
        world: how many ranks there are.
        tell: shows a line.
    """

    def __init__(self, host: str, port: int, rank: int, world: int, tell: Callable[[str], None] = say_at_once) -> None:
        self.host, self.port, self.rank, self.world, self.tell = host, port, rank, world, tell
        restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # a launcher's store outlives a restart
        self._prefix = f"gensr/here/{restart}"
        self._store: dist.TCPStore | None = None
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._sign_in, self._watch)]

    def __enter__(self) -> Self:
        if self.world > 1:
            for thread in self._threads:
                thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def line(self) -> str:
        """Who is awaited where, as far as this rank can see."""
        begin = f"rank {self.rank} of {self.world} on {socket.gethostname()} waits"
        alone = "or, to work alone, unset RANK and WORLD_SIZE"
        place = f"{self.host}:{self.port}"
        if self._store is None:
            return f"{begin} for rank 0 at {place}, where nobody answers; start it there, {alone}"
        missing = []
        with contextlib.suppress(RuntimeError):
            missing = [rank for rank in range(self.world) if not self._store.check([f"{self._prefix}/{rank}"])]
        if not missing:
            return f"{begin} for the others at {place}; all have come and are not ready yet"
        names = ", ".join(map(str, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
        others, it = ("1 other rank", "it") if len(missing) == 1 else (f"{len(missing)} other ranks", "them")
        return f"{begin} for {others} at {place}: {names}; start {it} with that address, {alone}"

    def _sign_in(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(RuntimeError, ValueError):  # it does not listen yet
                store = dist.TCPStore(
                    self.host, self.port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_TRY)
                )
                store.set(f"{self._prefix}/{self.rank}", socket.gethostname())
                self._store = store
                return
            self._over.wait(1.0)

    def _watch(self) -> None:
        pause = FIRST
        while not self._over.wait(pause):
            self.tell(self.line())
            pause = AGAIN
