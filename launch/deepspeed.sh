#!/usr/bin/env bash
# Train on the hosts of a hostfile through DeepSpeed's launcher (pdsh and password-less ssh), started on one of them.
#   HOSTFILE=launch/hostfile launch/deepspeed.sh configs/kuaisar.yaml --set train.zero_stage=2
# Without HOSTFILE it uses the GPUs of this machine. Every host needs this folder, its environment and the run folder at
# the same path. Variables for all hosts go to .deepspeed_env, one NAME=VALUE a line: GLOO_SOCKET_IFNAME=eth0 for gloo
# on CPUs, NCCL_SOCKET_IFNAME=eth0 for nccl. DS_ENV_FILE names another file.
# The same command started again goes on from the newest checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d .venv ] && . .venv/bin/activate

hosts=()
if [ -n "${HOSTFILE:-}" ]; then hosts=(--hostfile "$HOSTFILE"); fi
# A host that is gone closes no connection: without this ssh would wait for it forever.
export PDSH_SSH_ARGS_APPEND="${PDSH_SSH_ARGS_APPEND:-} -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o ConnectTimeout=15"
exec deepspeed "${hosts[@]}" --module gensr_dist train "$@"
