#!/bin/sh
# Makes .venv from requirements.lock: `sh caravan/setup.sh [PYTHON]`, run in the project's folder.
# The stamp names what .venv was made from (lock, metadata, folder, interpreter); nothing new means nothing to do.
set -eu
wanted=${1:-}

fail() { echo "setup: $*" >&2; exit 1; }

# Two runs at once wait for each other: the folder itself is the lock.
if command -v flock >/dev/null 2>&1; then exec 9<. && flock 9; fi

stamp() { cat requirements.lock pyproject.toml | cksum; printf '%s\n%s' "$1" "$PWD"; }
old=$(cat .venv/caravan-stamp 2>/dev/null || :)
made_by=$(printf '%s' "$old" | sed -n 2p)
python=${wanted:-${made_by:-python3}}
if [ -x .venv/bin/python ] && [ "$old" = "$(stamp "$python")" ]; then exit 0; fi

command -v "$python" >/dev/null 2>&1 || fail "no '$python' here; install Python 3.11 or later, or name one: make setup PYTHON=/path/to/python3"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "'$python' does not run; name another: make setup PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "'$python' is Python $version, caravan needs 3.11 or later; name one: make setup PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "'$python' cannot make virtual environments; install python$version-venv (Debian, Ubuntu: apt-get install python$version-venv), then run this again"

# A .venv without a stamp was left half-made; one for another folder or interpreter is of no use either.
case $old in
*"
$python
$PWD") [ -x .venv/bin/python ] || rm -rf .venv ;;
*) rm -rf .venv ;;
esac
rm -f .venv/caravan-stamp
trap 'rm -rf .venv' EXIT
trap 'exit 130' HUP INT TERM

if [ ! -x .venv/bin/python ]; then
    echo "setup: making .venv with Python $version"
    "$python" -m venv .venv
    # pip is needed once, to bring in uv by the version and hashes of the lock.
    awk '/^[a-z0-9]/ { on = /^uv==/ } on' requirements.lock >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r .venv/uv.lock
fi
echo "setup: installing from requirements.lock"
UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_LINK_MODE=${UV_LINK_MODE:-copy} VIRTUAL_ENV="$PWD/.venv"
export UV_SYSTEM_CERTS UV_LINK_MODE VIRTUAL_ENV
.venv/bin/python -m uv pip sync --quiet --require-hashes requirements.lock
.venv/bin/python -m uv pip install --quiet --no-deps --no-build-isolation --editable .

trap - EXIT
stamp "$python" >.venv/caravan-stamp
echo "setup: done"
