#!/usr/bin/env bash
# Multi-node training on one machine: two network namespaces joined by a cable (veth), an sshd in each, a hostfile, and
# launch/deepspeed.sh, which trains over ssh and gloo as it would on two machines. CPU only, minutes, needs root.
#
#   sudo bash launch/two_nodes.sh [--fail] [--folder FOLDER] [OPTION ...]
#
#   --fail     then train again and lose node 1 on the way, once by SIGKILL of all its processes and once by pulling
#              the cable; each time the job must end within 60 s with a message and go on with the same command, and in
#              the end all losses must be those of the first training, to which nothing happened
#   --folder   where run folders and logs go, default runs/two_nodes; a later start reuses the prepared log
#   OPTION     goes to the training: --set train.zero_stage=3 --set train.steps=100
#
# Exit code: 0 fine, 1 a promise was broken, 2 bad input, 77 this machine cannot do it (no root, tools, namespaces).
# Nothing in ~/.ssh is read or written; keys and configuration lie in a temporary folder. All of it goes at the end.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

KILLED_AT=11    # step after which node 1 is killed: the newest checkpoint is then a few steps old
UNPLUGGED_AT=18 # the same for the cable
LIMIT=60        # seconds in which a job that lost a node has to end
INTERFACE=gensr # name of the cable's end in both namespaces
PLACE=(10.78.0.1 10.78.0.2)

fail=
folder=runs/two_nodes
options=()
while [ $# -gt 0 ]; do
    case $1 in
        --fail) fail=yes ;;
        --folder) folder=${2:?--folder needs a folder} && shift ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
        *) options+=("$1") ;;
    esac
    shift
done

cannot() {
    printf 'cannot run two nodes here: %s\n' "$*" >&2
    exit 77
}

check_machine() {
    local tool missing=()
    [ "$(id -u)" = 0 ] || cannot "network namespaces and sshd need root: sudo bash launch/two_nodes.sh"
    PATH=$PATH:/usr/sbin:/sbin
    for tool in ip unshare ssh ssh-keygen sshd pdsh; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} -eq 0 ] || cannot "${missing[*]} not found; on Debian: apt-get install iproute2 openssh-client openssh-server pdsh"
    ip netns add "$name-probe" 2>/dev/null || cannot "network namespaces are not permitted"
    ip -n "$name-probe" link add name gensr0 type veth peer name gensr1 2>/dev/null || { ip netns del "$name-probe" && cannot "veth devices are not permitted"; }
    ip netns del "$name-probe"
}

# ---------------------------------------------------------------- the two nodes

name=gensr-$$
private=
clean() {
    local node
    for node in 0 1; do
        kill_all "$node"
        ip netns del "$name-$node" 2>/dev/null || true
    done
    [ -z "$private" ] || rm -rf "$private"
    if [ -n "${SUDO_UID:-}" ] && [ -d "$folder" ]; then chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$folder"; fi
}

kill_all() { # NODE: SIGKILL to every process in its namespace
    ip netns pids "$name-$1" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
}

make_nodes() {
    local node
    private=$(mktemp -d)
    printf '127.0.0.1 localhost\n%s gensr0\n%s gensr1\n' "${PLACE[@]}" >"$private/hosts"
    mkdir -p "$private/bin" "$private/tmp" /run/sshd # sshd wants its own empty folder
    ssh-keygen -q -t ed25519 -N '' -f "$private/key"
    for node in 0 1; do
        ip netns add "$name-$node"
        ip -n "$name-$node" link set lo up
        ssh-keygen -q -t ed25519 -N '' -f "$private/host_key_$node"
        printf '%s %s\n' "${PLACE[node]}" "$(cut -d' ' -f1,2 "$private/host_key_$node.pub")" >>"$private/known_hosts"
        printf 'Host gensr%s\n    HostName %s\n' "$node" "${PLACE[node]}" >>"$private/ssh_config"
        cat >"$private/sshd_config_$node" <<CONFIG
ListenAddress ${PLACE[node]}
HostKey $private/host_key_$node
AuthorizedKeysFile $private/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
ClientAliveInterval 5
ClientAliveCountMax 3
CONFIG
    done
    cat >>"$private/ssh_config" <<CONFIG
Host *
    User root
    IdentityFile $private/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $private/known_hosts
    GlobalKnownHostsFile none
    BatchMode yes
    LogLevel ERROR
CONFIG
    ip -n "$name-0" link add name "$INTERFACE" type veth peer name "$INTERFACE" netns "$name-1"
    for node in 0 1; do
        ip -n "$name-$node" address add "${PLACE[node]}/24" dev "$INTERFACE"
        ip -n "$name-$node" link set "$INTERFACE" up
    done
    # deepspeed and pdsh call plain `ssh`.
    printf '#!/bin/sh\nexec %s -F %s/ssh_config "$@"\n' "$(command -v ssh)" "$private" >"$private/bin/ssh"
    chmod +x "$private/bin/ssh"
    printf 'gensr0 slots=1\ngensr1 slots=1\n' >"$private/hostfile"
    cat >"$private/deepspeed_env" <<VARIABLES
GLOO_SOCKET_IFNAME=$INTERFACE
OMP_NUM_THREADS=1
HF_HUB_OFFLINE=1
TMPDIR=$private/tmp
TORCH_EXTENSIONS_DIR=$private/extensions
VARIABLES
    start_sshd 0
    start_sshd 1
}

start_sshd() { # NODE: with a host name of its own, and no GPU, which two ranks could not share
    ip netns exec "$name-$1" unshare --uts --mount sh -ec '
        hostname "gensr$1"
        mount --bind "$4" /etc/hosts
        for device in /dev/nvidia*; do [ ! -c "$device" ] || mount --bind /dev/null "$device"; done
        exec "$2" -D -f "$3"' sh "$1" "$(command -v sshd)" "$private/sshd_config_$1" "$private/hosts" 2>>"$folder/sshd.log" &
    disown # bash does not report its end
    wait_for_ssh "$1"
}

wait_for_ssh() { # NODE: reached from node 0
    local tries
    for tries in $(seq 50); do
        if ip netns exec "$name-0" "$private/bin/ssh" -o ConnectTimeout=2 "gensr$1" true 2>/dev/null; then return; fi
        sleep 0.2
    done
    die "node $1 does not answer over ssh after $tries tries; see $folder/sshd.log"
}

# ---------------------------------------------------------------- the runs

prepare_log() { # a small simulated log, its shards and CF vectors; unchanged stages are skipped
    cat >"$folder/config.yaml" <<CONFIG
run: $folder/log
simulate: {users: 200, items: 300, days: 6, events_per_user: 30}
data: {source: simulate, split: days, vocabulary: 300, title_tokens: 6, query_tokens: 4, history: 6,
       eval_negatives: 9, min_interactions: 2, train_negatives: 1}
lightgcn: {width: 8, layers: 2, epochs: 2, batch: 512}
model: {cf_heads: 2}
train: {steps: 24, batch: 16, warmup_steps: 5, zero_stage: 2, workers: 0, log_every: 1,
        validate_every: 12, validate_rows: 20, checkpoint_every: 4}
CONFIG
    gensr simulate "$folder/config.yaml" >"$folder/log.txt"
    gensr prepare simulate "$folder/config.yaml" >>"$folder/log.txt"
    gensr lightgcn "$folder/config.yaml" >>"$folder/log.txt"
    gensr channels "$folder/config.yaml" >>"$folder/log.txt"
}

new_run() { # RUN: a run folder that shares the log's shards and CF vectors
    rm -rf "${folder:?}/$1"
    mkdir -p "$folder/$1"
    ln -s "$folder/log/shards" "$folder/log/cf" "$folder/log/channels" "$folder/$1/"
}

preflight() { # RUN: check both nodes as a user would, from node 0
    ip netns exec "$name-0" env PATH="$private/bin:$PATH" HOSTFILE="$private/hostfile" \
        DS_ENV_FILE="$private/deepspeed_env" TMPDIR="$private/tmp" \
        bash launch/preflight "$folder/config.yaml" --set "run=$folder/$1"
}

start() { # RUN LOG: train on both nodes, started on node 0 as a user would; sets $launcher and $log
    log=$folder/$2.txt
    ip netns exec "$name-0" env PATH="$private/bin:$PATH" HOSTFILE="$private/hostfile" \
        DS_ENV_FILE="$private/deepspeed_env" TMPDIR="$private/tmp" \
        bash launch/deepspeed.sh "$folder/config.yaml" --set "run=$folder/$1" "${options[@]}" >"$log" 2>&1 &
    launcher=$!
}

finish() { # wait for the launcher
    wait "$launcher" || { tail -n 20 "$log" >&2 && broken "training failed; see $log"; }
}

lose_node() { # HOW STEP: lose node 1 after the step, measure how the job ends, bring the node back
    local since=$SECONDS took
    until grep -q "step $2/" "$log" 2>/dev/null; do
        kill -0 "$launcher" 2>/dev/null || { tail -n 20 "$log" >&2 && broken "training ended before step $2; see $log"; }
        [ $((SECONDS - since)) -le 300 ] || broken "no step $2 after five minutes; see $log"
        sleep 0.1
    done
    since=$SECONDS
    if [ "$1" = killed ]; then
        say "step $2: SIGKILL to every process of node 1"
        kill_all 1
    else
        say "step $2: the cable is pulled"
        ip -n "$name-1" link set "$INTERFACE" down
    fi
    while [ -n "$(trainers)" ] || kill -0 "$launcher" 2>/dev/null; do
        took=$((SECONDS - since))
        [ "$took" -le $((2 * LIMIT)) ] || broken "$took s after node 1 was lost these go on: launcher $launcher, $(trainers)"
        sleep 0.2
    done
    took=$((SECONDS - since))
    if wait "$launcher"; then broken "the job lost a node and ended with exit code 0"; fi
    grep -oE 'rank [0-9]+ on gensr[01]: .*' "$log" || broken "the job ended without a message; see $log"
    if [ "$1" = killed ]; then start_sshd 1; else
        ip -n "$name-1" link set "$INTERFACE" up
        wait_for_ssh 1
    fi
    ended+=("$took")
    [ "$took" -le "$LIMIT" ] || late="the job went on $took s after node 1 was $1, more than $LIMIT"
}

resumed_after() { # the step that the log says
    grep -oE 'resuming after step [0-9]+' "$log" | grep -oE '[0-9]+' || broken "training did not resume; see $log"
}

trainers() { # processes of both nodes that still train
    local node pid
    for node in 0 1; do
        for pid in $(ip netns pids "$name-$node"); do
            if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'gensr_dist train'; then printf '%s ' "$pid"; fi
        done
    done
}

compare() { # largest difference of a loss of the two runs; they must have the same steps
    python - "$folder/reference/tensorboard" "$folder/interrupted/tensorboard" <<'PYTHON'
import logging
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it reports that resumed steps replace lost ones
curves = []
for folder in sys.argv[1:]:
    events = EventAccumulator(folder)
    events.Reload()
    curves.append([(point.step, point.value) for point in events.Scalars("loss/total")])
expected, found = curves
if [step for step, _ in found] != [step for step, _ in expected]:
    sys.exit(f"steps {[step for step, _ in found]} instead of {[step for step, _ in expected]}")
difference = max(abs(one - other) for (_, one), (_, other) in zip(found, expected, strict=True))
print(f"{len(found)} steps, each once; largest difference of a loss: {difference:.1e}")
sys.exit(difference > 1e-6)
PYTHON
}

broken() {
    printf 'broken promise: %s\n' "$*" >&2
    exit 1
}

# ---------------------------------------------------------------- what it does

trap clean EXIT
trap 'exit 130' INT TERM
check_machine
if [ -x .venv/bin/gensr ]; then PATH=$PWD/.venv/bin:$PATH; fi
command -v gensr >/dev/null || setup_environment
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

say "a small simulated log, shards, CF vectors in $folder/log"
prepare_log
say "two nodes: gensr0 ${PLACE[0]} and gensr1 ${PLACE[1]}, joined by veth, an sshd in each"
make_nodes

new_run reference
say "launch/preflight: can both nodes train together?"
preflight reference || die "a node has a problem; see above"
say "deepspeed --hostfile: training on both nodes, log in $folder/reference.txt"
start reference reference
tail -n +1 -F --pid "$launcher" "$log" 2>/dev/null |
    grep --line-buffered -E '^gensr[01]: (step|trained|rank|[0-9,]+ parameters)' &
wait $! || true # not in the foreground, where a signal to this script would have to wait for it
finish
[ -n "$fail" ] || exit 0

ended=()
late=
say "the same in another run folder, which loses node 1 twice; logs in $folder/interrupted-*.txt"
new_run interrupted
start interrupted interrupted-1
lose_node killed "$KILLED_AT"
say "node 1 is back; the same command again"
start interrupted interrupted-2
lose_node unplugged "$UNPLUGGED_AT"
resumed=("$(resumed_after)")
say "node 1 is back; the same command again"
start interrupted interrupted-3
finish
resumed+=("$(resumed_after)")

printf '\n%-10s  %10s  %12s  %19s\n' "node 1" "after step" "job ended in" "resumed after step"
printf '%-10s  %10s  %10s s  %19s\n' killed "$KILLED_AT" "${ended[0]}" "${resumed[0]}"
printf '%-10s  %10s  %10s s  %19s\n' unplugged "$UNPLUGGED_AT" "${ended[1]}" "${resumed[1]}"
compare || broken "the losses are not those of the uninterrupted run"
[ -z "$late" ] || broken "$late"
say "the job ended within $LIMIT s of each loss and came to the losses of the uninterrupted run"
