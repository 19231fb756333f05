#!/usr/bin/env bash
# Train through torchrun, which starts the ranks again after a failure; training then goes on from the newest checkpoint.
#   one machine, all GPUs:  launch/torchrun.sh configs/kuaisar.yaml --set train.zero_stage=2
#   the same on each of N:  NODES=2 MASTER_ADDR=host0 launch/torchrun.sh configs/kuaisar.yaml
#   CPU, two ranks:         RANKS=2 launch/torchrun.sh configs/quickstart.yaml
# The machines meet at MASTER_ADDR, one of them, on MASTER_PORT (29500); RUN_ID tells apart runs that share it.
# RESTARTS (3) is how often torchrun starts all ranks again. A machine that was lost is awaited for ten minutes: start the
# same command on it again, or on another in its place. The run folder lies on a file system that all machines share.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d .venv ] && . .venv/bin/activate

ranks=${RANKS:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}
if [ "${NODES:-1}" -eq 1 ]; then
    place=(--standalone)
else
    place=(--nnodes "$NODES" --rdzv-backend c10d --rdzv-endpoint "${MASTER_ADDR:?}:${MASTER_PORT:-29500}" --rdzv-id "${RUN_ID:-gensr}")
fi
# Ranks that are started again need a store of their own: that of the agents still holds what the last ones agreed on.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# Seconds from SIGTERM, which makes training save a checkpoint, to SIGKILL.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-240}
exec torchrun "${place[@]}" --nproc-per-node "$ranks" --max-restarts "${RESTARTS:-3}" -m gensr_dist train "$@"
