#!/usr/bin/env bash
# Train on all GPUs of this machine, or on several machines that reach each other.
#   one machine:       launch/torchrun.sh configs/kuaisar.yaml --set train.zero_stage=2
#   on each of N:      NODES=2 NODE_RANK=0 MASTER_ADDR=host0 launch/torchrun.sh configs/kuaisar.yaml
#   CPU, two ranks:    RANKS=2 launch/torchrun.sh configs/quickstart.yaml
# The run folder must lie on a file system that all machines share.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d .venv ] && . .venv/bin/activate

ranks=${RANKS:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}
if [ "${NODES:-1}" -eq 1 ]; then
    place=(--standalone)
else
    place=(--nnodes "$NODES" --node_rank "${NODE_RANK:?}" --master_addr "${MASTER_ADDR:?}" --master_port "${MASTER_PORT:-29500}")
fi
exec torchrun "${place[@]}" --nproc_per_node "$ranks" -m gensr_dist.train "$@"
