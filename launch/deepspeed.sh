#!/usr/bin/env bash
# Train on the hosts of a hostfile through DeepSpeed's launcher (pdsh and password-less ssh), started on one of them.
#   launch/deepspeed.sh configs/kuaisar.yaml --set train.zero_stage=2
#   HOSTFILE=launch/hostfile launch/deepspeed.sh configs/kuaisar.yaml
# Without a hostfile it uses the GPUs of this machine. Every host needs this folder and the run folder at the same path.
# Variables for all hosts go to .deepspeed_env, one NAME=VALUE a line: for gloo on CPUs GLOO_SOCKET_IFNAME=eth0.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d .venv ] && . .venv/bin/activate

hosts=()
if [ -n "${HOSTFILE:-}" ]; then hosts=(--hostfile "$HOSTFILE"); fi
exec deepspeed "${hosts[@]}" --module gensr_dist.train "$@"
