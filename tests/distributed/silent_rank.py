"""A rank that waits forever in the main thread, as in a collective: `silent_rank.py RANK PORT`, of three."""

import sys
import time

import torch.distributed as dist

from gensr_dist.distributed import heartbeat as peers

rank, port = int(sys.argv[1]), int(sys.argv[2])
peers.INTERVAL, peers.SILENCE = 0.1, 8.0
store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False) if rank == 0 else None
watch = peers.Heartbeat("127.0.0.1", port, 5, rank, 3)
print("here", flush=True)
time.sleep(600)
