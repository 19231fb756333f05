"""The process group: started by `deepspeed`, `torchrun`, or made here for a plain process."""

import atexit
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from gensr_dist.distributed.gathering import Gathering
from gensr_dist.distributed.heartbeat import Heartbeat
from gensr_dist.distributed.launcher_variables import LAUNCHER_VARIABLES, started_by_launcher
from gensr_dist.errors import InputError

Result = TypeVar("Result")

_watches: list[Heartbeat] = []  # that of this process's group, while it is in one with others


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def alone(cls) -> "Ranks":
        """A process without a launcher, outside any process group."""
        return cls(0, 1, own_device())

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes what is written once."""
        return self.rank == 0

    def from_first(self, work: Callable[[], Result]) -> Result:
        """What `work` gives on the first rank, which alone does it, on every rank.

        Raises:
            InputError: `work` raised it, on every rank, so that none waits for one that has left.
        """
        if self.world == 1:
            return work()
        said: list[Any] = [None]
        if self.first:
            try:
                said = [work()]
            except InputError as error:
                said = [error]
        dist.broadcast_object_list(said, src=0, device=self.device)
        if isinstance(said[0], InputError):
            raise said[0]
        result: Result = said[0]
        return result

    def wait(self) -> None:
        """Return when every rank is here: who leaves before the others have finished looks as if it had died."""
        if self.world > 1:
            dist.barrier()


def join_processes() -> Ranks:
    """Join the process group that the launcher describes, or one of this process alone: nccl on GPUs, else gloo.

    From then on a rank that dies or cannot be reached ends this process, see `heartbeat`. Until all have come,
    those who wait say for whom, see `gathering`.

    Raises:
        InputError: the launcher's variables are incomplete or do not fit this machine, or its port is taken.
    """
    if not started_by_launcher():  # port 0: any that is free at the moment of listening
        os.environ.update(zip(LAUNCHER_VARIABLES, ("0", "1", "0", "127.0.0.1", "0"), strict=True))
    device = own_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        from gensr_dist.distributed.deepspeed_library import deepspeed  # seconds, which not every process needs

        # DeepSpeed would compile a shared-memory kernel for tensor-parallel inference here: 35 s, unused in training,
        # and a process killed meanwhile leaves a lock file on which every later run waits forever.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        with Gathering(host, port, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])):
            try:
                deepspeed.init_distributed("nccl" if device.type == "cuda" else "gloo", verbose=False)
            except dist.DistNetworkError as error:
                if "EADDRINUSE" not in str(error):
                    raise
                remedy = "choose another port, or end what an earlier start has left"
                raise InputError("MASTER_PORT", f"another program listens on port {port}", remedy) from None
            atexit.register(_leave)
            _watch_peers(device)
    return Ranks(dist.get_rank(), dist.get_world_size(), device)


def own_device() -> torch.device:
    """The GPU that a launcher means for this process, the first one without a launcher; else the CPU.

    Raises:
        InputError: a launcher started more processes than this machine shows GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        problem = f"{number}, but this machine shows {count} GPUs"
        raise InputError("LOCAL_RANK", problem, "start as many processes as there are GPUs; see CUDA_VISIBLE_DEVICES")
    return torch.device("cuda", number)


def check_same_shards(lost: Sequence[str], ranks: Ranks) -> None:
    """Make sure that all ranks read the same shards. Every rank must call it.

    Args:
        lost: names of the shards that this rank leaves out.
        ranks: this process among the others.

    Raises:
        InputError: some rank's disk holds other damaged shards than another's.
    """
    digest = hashlib.sha256("\n".join(lost).encode()).digest()[:8]
    seen = torch.tensor([int.from_bytes(digest, "big", signed=True)], device=ranks.device)
    least, most = seen.clone(), seen.clone()
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    if not torch.equal(least, most):
        raise InputError(
            "data.on_corrupt",
            f"rank {ranks.rank} lost {', '.join(lost) or 'no shard'}, other ranks lost others",
            "copy the shard folder again to the machines that miss some",
        )


def _watch_peers(device: torch.device) -> None:
    if dist.get_world_size() == 1:
        return
    session = torch.tensor([int.from_bytes(os.urandom(7), "big")], device=device)
    dist.broadcast(session, src=0)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    _watches.append(Heartbeat(host, port, int(session), dist.get_rank(), dist.get_world_size()))


def _leave() -> None:
    while _watches:
        _watches.pop().stop()
    if dist.is_initialized():
        from gensr_dist.distributed.deepspeed_library import deepspeed

        deepspeed.comm.destroy_process_group()  # torch's leaves DeepSpeed with groups that are no more
