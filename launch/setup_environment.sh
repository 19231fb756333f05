# Sourced by the other scripts: makes .venv beside the project and installs the pinned dependencies into it.
#
#   setup_environment [EXTRA]     EXTRA: `test` adds what linters and tests need
#
# A stamp in .venv holds a hash of constraints.txt, setup.py and the place; while it fits, nothing is installed.
# PYTHON chooses the interpreter (default python3). Sets PATH so that `gensr` is the one of .venv.

say() { printf '== %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

setup_environment() {
    local extra=${1:-} python=${PYTHON:-python3} quiet=--quiet wanted stamp
    cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
    [ -t 1 ] && quiet=

    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        command -v "$python" >/dev/null || die "$python not found; install Python 3.10 or newer, or set PYTHON"
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            die "$("$python" --version 2>&1) is too old; install Python 3.10 or newer and set PYTHON to it"
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv || die "cannot make .venv; install the venv module (python3-venv on Debian)"
    fi

    wanted=$(.venv/bin/python - <<'PYTHON'
import hashlib, pathlib, sys
content = b"".join(pathlib.Path(name).read_bytes() for name in ("constraints.txt", "setup.py"))
print(hashlib.sha256(content + sys.version.encode() + str(pathlib.Path.cwd()).encode()).hexdigest())
PYTHON
    ) || die ".venv is broken; delete it and start again"
    stamp=.venv/.installed${extra:+-$extra}
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        say "environment: .venv is up to date"
    else
        say "environment: installing torch, then the other pinned packages (minutes the first time)"
        # torch by itself first: the other packages then take the build that is there instead of choosing one.
        # shellcheck disable=SC2086
        .venv/bin/python -m pip install $quiet --disable-pip-version-check --no-compile -c constraints.txt torch &&
            .venv/bin/python -m pip install $quiet --disable-pip-version-check --no-compile -c constraints.txt \
                -e ".${extra:+[$extra]}" || die "installation failed; see above, then start the same command again"
        # pip compiles on one core. What cannot be compiled (templates, examples) is never imported.
        .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
        printf '%s\n' "$wanted" >.venv/.installed
        printf '%s\n' "$wanted" >"$stamp"
        say "environment: ready"
    fi
    PATH=$PWD/.venv/bin:$PATH
    export PATH
}
