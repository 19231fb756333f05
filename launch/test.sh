#!/usr/bin/env bash
# Linters, type checks and tests, in an environment that it makes itself. Options go to pytest.
#
#   bash launch/test.sh [PYTEST_OPTION ...]
#
# The TensorBoard test needs chromium, the two-node test ip, sshd and pdsh: as root with apt-get they are installed
# (sshd only in containers), else that test is skipped and says so.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"

setup_environment test

install_for_tests() { # PACKAGE...
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    say "installing $* for the tests"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        >/dev/null || say "$* cannot be installed; a test will be skipped"
}
command -v chromium >/dev/null || install_for_tests chromium
# Not where systemd runs: it would start the machine's ssh server, which nobody asked for.
{ command -v ip && command -v pdsh && [ -x /usr/sbin/sshd ]; } >/dev/null || [ -d /run/systemd/system ] ||
    install_for_tests iproute2 openssh-server pdsh

cores=$(env -u OMP_NUM_THREADS nproc)
processes=$((cores + (cores + 1) / 2)) # of tests: a third of the time they wait for processes that they started
[ "$processes" -le 8 ] || processes=8 # more need too much memory
export OMP_NUM_THREADS=1 # a test process has a core
export HF_HUB_OFFLINE=1  # no test asks the Hub
unset PYTHONDONTWRITEBYTECODE # hundreds of processes that tests start compile the package once

failed=()
check() {
    say "$*"
    "$@" || failed+=("$1 ${2:-}")
}
check ruff check .
check ruff format --check .
say "mypy, beside the tests" # it has work for one core
types=$(mktemp)
mypy >"$types" 2>&1 &
checker=$!
check pytest -n "$processes" --dist loadfile --no-loadscope-reorder "$@"
say "mypy"
wait "$checker" || failed+=(mypy)
cat "$types" && rm "$types"

if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
say "all checks passed"
