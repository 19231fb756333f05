"""What one node is like: packages, shards, network, GPUs, disk, clock, locks. Nothing is changed on it.

The imports are few, so that a node answers in a second; torch is loaded only where there is a GPU.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

import gensr_dist
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.doctor.hosts import Problem
from gensr_dist.errors import InputError
from gensr_dist.storage.cache import Cache
from gensr_dist.storage.folder import Folder
from gensr_dist.storage.home import cache_home
from gensr_dist.storage.records import digest

PACKAGES = ("torch", "deepspeed", "transformers")


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What to look at."""

    run: str = ""  # run folder, "" if there is no config
    shards: str = ""  # folder or URL
    cache: str = ""
    cache_gb: float = 1.0
    port: int = 0  # that must be free, 0 for none


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A network interface."""

    name: str
    up: bool
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as torch sees it."""

    name: str
    total: int  # bytes
    free: int  # bytes


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a node said."""

    hostname: str
    machine: str  # equal on two nodes that are one machine with one network
    clock: float  # seconds since 1970, read last of all; in a report ahead of the machine that asked
    versions: dict[str, str]  # "" where a package is missing
    addresses: tuple[str, ...]  # IPv4 and IPv6, without loopback
    resolved: tuple[str, ...]  # what the node's own name leads to
    interfaces: tuple[Interface, ...]
    variables: dict[str, str]  # GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME where they are set
    gpus: tuple[Gpu, ...]
    memory: int  # bytes that are available
    disk_free: int  # bytes, where the run folder lies or would lie
    port_problem: str
    run_there: bool
    run_writable: bool
    shards: str  # digest of their manifest
    shards_problem: Problem | None
    locks: tuple[str, ...]  # of extension builds, that no process here holds
    held_locks: tuple[str, ...]  # that one does


def look(request: ProbeRequest) -> Findings:
    """Look at this node."""
    interfaces = _interfaces()
    shards, shards_problem = _shards(request)
    locks, held_locks = _locks()
    run = Path(request.run or ".")
    return Findings(
        hostname=socket.gethostname(),
        machine=_machine(),
        versions=_versions(),
        addresses=tuple(a for i in interfaces for a in i.addresses if i.up and not is_loopback(a)),
        resolved=_resolved(),
        interfaces=interfaces,
        variables={name: os.environ[name] for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if os.getenv(name)},
        gpus=_gpus(),
        memory=psutil.virtual_memory().available,
        disk_free=shutil.disk_usage(next(path for path in (run, *run.absolute().parents) if path.exists())).free,
        port_problem=_port_problem(request.port),
        run_there=run.is_dir(),
        run_writable=os.access(run, os.W_OK | os.X_OK),
        shards=shards,
        shards_problem=shards_problem,
        locks=locks,
        held_locks=held_locks,
        clock=time.time(),
    )


def is_loopback(address: str) -> bool:
    """Whether only this machine itself can be reached there."""
    return address.startswith("127.") or address == "::1"


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    network = Path("/proc/self/ns/net")
    if not boot.exists() or not network.exists():
        return socket.gethostname()
    return f"{boot.read_text().strip()} {network.readlink()}"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        found = next(iter(importlib.metadata.distributions(name=package)), None)
        versions[package] = found.version if found else ""
    root = Path(gensr_dist.__file__).parent
    sources = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        sources.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    # Two checkouts of one version may differ.
    versions["gensr_dist"] = f"{gensr_dist.__version__} ({sources.hexdigest()[:8]})"
    return versions


def _interfaces() -> tuple[Interface, ...]:
    states = psutil.net_if_stats()
    indices = {name: index for index, name in socket.if_nameindex()}  # `hostname -I` goes by them
    families = (socket.AF_INET, socket.AF_INET6)
    return tuple(
        Interface(
            name=name,
            up=name in states and states[name].isup,
            # A link-local address (fe80::) needs its interface's name to be of use.
            addresses=tuple(a.address for a in found if a.family in families and "%" not in a.address),
        )
        for name, found in sorted(psutil.net_if_addrs().items(), key=lambda item: indices.get(item[0], 1 << 32))
    )


def _resolved() -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _gpus() -> tuple[Gpu, ...]:
    if not any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/dxg")):
        return ()
    import torch

    if not torch.cuda.is_available():
        return ()
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(Gpu(name=torch.cuda.get_device_name(number), total=total, free=free))
    return tuple(found)


def _port_problem(port: int) -> str:
    if not port:
        return ""
    try:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch's store does
            server.bind(("", port))
            server.listen()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _shards(request: ProbeRequest) -> tuple[str, Problem | None]:
    """Digest of the manifest, and what is wrong with the files that it lists."""
    if not request.shards:
        return "", None
    try:
        folder = Folder.at(request.shards, Cache.at(request.cache, request.cache_gb))
        manifest = Manifest.read(folder)
        sizes = folder.sizes()
    except InputError as error:
        return "", Problem(f"{error.where}: {error.problem}", error.remedy)
    except OSError as error:
        return "", Problem(f"{request.shards}: {error.strerror}", "check its permissions and the disk")
    damaged = [
        f"{record.name} has {sizes.get(record.name, 0)} of {record.bytes} bytes"
        for record in (*manifest.shards, *manifest.files)
        if sizes.get(record.name) != record.bytes
    ]
    problem = None
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        problem = Problem(f"{request.shards}: {damaged[0]}{more}", "copy the shard folder again to this node")
    return digest(manifest)[:16], problem


def _locks() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lock files of extension builds: those that no process here holds, and those that one does.

    A build holds its lock file open (`torch.utils.file_baton`) and waits forever where one is left.
    """
    own = os.environ.get("TORCH_EXTENSIONS_DIR")
    # As torch.utils.cpp_extension and Python's tempfile have it.
    homes = cache_home(), Path(tempfile.gettempdir())
    folders = [Path(own)] if own else [home / "torch_extensions" for home in homes]
    locks = [path for folder in folders if folder.is_dir() for path in folder.rglob("lock")]
    opened = _open_files() if locks else frozenset()
    left, held = list[str](), list[str]()
    for path in locks:
        state = _stat(path)
        if state is None:
            continue  # released meanwhile
        # Nobody but root sees what other users' processes hold.
        unknown = os.geteuid() not in (0, state.st_uid)
        (held if unknown or (state.st_dev, state.st_ino) in opened else left).append(str(path))
    return tuple(left), tuple(held)


def _open_files() -> frozenset[tuple[int, int]]:
    """Device and inode of all files that processes hold open, as far as this user sees them."""
    links = (link for process in Path("/proc").glob("[0-9]*") for link in _entries(process / "fd"))
    states = (_stat(link) for link in links)
    return frozenset((state.st_dev, state.st_ino) for state in states if state is not None)


def _entries(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(folder.iterdir())
    except OSError:  # the process ended, or it is another user's
        return ()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
