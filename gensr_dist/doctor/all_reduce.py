"""All nodes sum numbers together: what training does in every step, with its bandwidth. One rank a node."""

import concurrent.futures
import datetime
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.distributed as dist

from gensr_dist.doctor.hosts import Problem

_BYTES = {"gloo": 16 << 20, "nccl": 256 << 20}
_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class AllReduceRequest:
    """This node's place among the nodes."""

    rank: int
    world: int
    address: str  # of rank 0
    port: int
    backend: str  # gloo or nccl
    seconds: float  # that joining may take


@dataclass(frozen=True, kw_only=True)
class AllReduceAnswer:
    """What came of it on one node."""

    bytes: int = 0  # that each rank gave
    seconds: float = 0.0  # median of a few rounds
    problem: Problem | None = None


def join(request: AllReduceRequest) -> AllReduceAnswer:
    """Join the other nodes and sum numbers with them.

    The process should end with `os._exit` then: gloo may hang in a thread of it.
    """
    limit = datetime.timedelta(seconds=request.seconds)
    where = f"{request.address} port {request.port}"
    try:
        store = dist.TCPStore(request.address, request.port, request.world, request.rank == 0, limit)
    except RuntimeError as error:
        if request.rank == 0:
            problem = f"not all {request.world} nodes came to {where} within {request.seconds:.0f} s ({_first(error)})"
            return AllReduceAnswer(problem=Problem(problem, "see the other nodes' lines"))
        problem = f"it cannot connect to {where}, the first node ({_first(error)})"
        return AllReduceAnswer(problem=Problem(problem, "open the ports between the nodes for each other"))
    # All were here: an error from now on is one of the connections between them.
    work = ThreadPoolExecutor(1).submit(_sum, request, store, limit)
    try:
        # gloo does not keep its own time limit where connections come to nothing.
        return work.result(1.5 * request.seconds)
    except concurrent.futures.TimeoutError:
        return _not_joined(request, f"no end after {1.5 * request.seconds:.0f} s")


def _sum(request: AllReduceRequest, store: dist.Store, limit: datetime.timedelta) -> AllReduceAnswer:
    try:
        device = torch.device("cuda", 0) if request.backend == "nccl" else torch.device("cpu")
        dist.init_process_group(
            request.backend, store=store, rank=request.rank, world_size=request.world, timeout=limit
        )
        return _measure(request, device)
    except RuntimeError as error:
        return _not_joined(request, _first(error))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _not_joined(request: AllReduceRequest, reason: str) -> AllReduceAnswer:
    name = f"{request.backend.upper()}_SOCKET_IFNAME"
    remedy = f"set {name} in .deepspeed_env to the interface that joins the nodes and open all ports between them"
    return AllReduceAnswer(problem=Problem(f"{request.backend} failed to join the nodes ({reason})", remedy))


def _measure(request: AllReduceRequest, device: torch.device) -> AllReduceAnswer:
    number_N = torch.empty(_BYTES[request.backend] // 4, device=device)  # float32
    seconds = []
    for _ in range(_ROUNDS + 1):
        number_N.fill_(request.rank + 1)
        dist.barrier()
        since = time.perf_counter()
        dist.all_reduce(number_N)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - since)
    if not bool((number_N == request.world * (request.world + 1) // 2).all()):
        problem = Problem(f"{request.backend} gave a wrong sum", "install the same torch and drivers on all nodes")
        return AllReduceAnswer(problem=problem)
    dist.barrier()
    # The first round makes the connections.
    return AllReduceAnswer(bytes=number_N.nbytes, seconds=statistics.median(seconds[1:]))


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
