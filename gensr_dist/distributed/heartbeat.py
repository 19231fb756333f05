"""Whether the other ranks are still there: a lost machine ends the training within a minute, and says so.

A collective only fails at once where the other end closes its connection. A machine without power or network closes
nothing: gloo and nccl wait for their timeout, which has to be longer than whatever one rank may do alone. So each rank
counts up a number in the store of the process group every few seconds, from a thread of its own; rank 0 looks at all
numbers, the others at that of rank 0 and at a note that it leaves for them.
"""

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field

import torch.distributed as dist

from gensr_dist.distributed.ending import end_process

INTERVAL = 2.0  # seconds between two signs of life
SILENCE = 25.0  # seconds without one after which a rank counts as lost


@dataclass
class _Seen:
    """Latest sign of life of a rank."""

    count: int = 0
    at: float = field(default_factory=time.monotonic)


class Heartbeat:
    """Ends this process when another rank has been silent for too long.

    Args:
        host: of the process group's store.
        port: of it.
        session: number that all ranks of this start share; a store may outlive a restart.
        rank: of this process.
        world: how many ranks there are.
    """

    def __init__(self, host: str, port: int, session: int, rank: int, world: int) -> None:
        self.rank = rank
        self.prefix = f"gensr/peers/{session}"
        self.store = dist.TCPStore(host, port, is_master=False, wait_for_workers=False)
        self.store.set(f"{self.prefix}/host/{rank}", socket.gethostname())
        self.watched = {other: _Seen() for other in (range(1, world) if rank == 0 else (0,))}
        self.hosts: dict[int, str] = {}
        self.told = ""  # what rank 0 says of lost ranks
        self.stopped = threading.Event()
        # Two threads: a store whose machine is gone may keep the first one waiting for a quarter of an hour.
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._sign, self._watch)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Stop watching; the others may leave from now on."""
        self.stopped.set()
        for thread in self.threads:
            thread.join(timeout=INTERVAL)

    def _sign(self) -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone: its silence says the rest
            while not self.stopped.wait(INTERVAL):
                self._exchange()

    def _exchange(self) -> None:
        """Give a sign of life and read those of the others."""
        self.store.add(f"{self.prefix}/{self.rank}", 1)
        for other, seen in self.watched.items():
            if other not in self.hosts and self.store.check([f"{self.prefix}/host/{other}"]):
                self.hosts[other] = self.store.get(f"{self.prefix}/host/{other}").decode()
            count = self.store.add(f"{self.prefix}/{other}", 0)
            if count != seen.count:
                self.watched[other] = _Seen(count)
        note = f"{self.prefix}/lost"
        if self.rank == 0 and self.told:
            self.store.set(note, self.told)
        elif self.rank and self.store.check([note]):
            self.told = self.store.get(note).decode()

    def _watch(self) -> None:
        while not self.stopped.wait(INTERVAL):
            now = time.monotonic()
            silent = [other for other, seen in self.watched.items() if now - seen.at > SILENCE]
            if silent and not self.told:
                self.told = self._problem(silent)
                if self.rank == 0:
                    self.stopped.wait(2 * INTERVAL)  # the others read it before the store goes
            if self.told and not self.stopped.is_set():
                end_process(self.rank, self.told)

    def _problem(self, silent: list[int]) -> str:
        names = ", ".join(f"{other} ({self.hosts.get(other, 'unknown host')})" for other in silent[:8])
        more = f" and {len(silent) - 8} more" if len(silent) > 8 else ""
        what = "its process, its machine" if len(silent) == 1 else "their processes, their machines"
        ranks, have = ("rank", "has") if len(silent) == 1 else ("ranks", "have")
        return f"{ranks} {names}{more} {have} given no sign of life for {SILENCE:.0f} s; {what} or the network is gone"
