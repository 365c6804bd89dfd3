#!/usr/bin/env bash
# The end-to-end tests: builds the binaries, makes a Python environment under target/ if there is none with what they need, runs pytest.
# Usage: tests/e2e/run.sh [pytest arguments]        ERLMCP_BIN to test another binary
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cd "$here/../.."

if [[ -z ${ERLMCP_BIN:-} ]]; then
    cargo build --quiet --bins --examples
    export ERLMCP_BIN=$PWD/target/debug/erlmcp-node
fi

venv=$PWD/target/venv
if ! cmp -s tests/e2e/requirements.txt "$venv/.installed"; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt
    cp tests/e2e/requirements.txt "$venv/.installed"
fi

out=$(mktemp)
trap 'rm -f "$out"' EXIT
code=0
"$venv/bin/python" -m pytest -p no:cacheprovider -s --durations=5 "${@:-tests/e2e}" 2>&1 | tee "$out" || code=$?
of() { grep -E '^=+ .* in [0-9.]+' "$out" | tail -n 1 | grep -oE "[0-9]+ $1" | grep -oE '[0-9]+' || echo 0; }
passed=$(of passed)
failed=$(($(of failed) + $(of error)))
if ((code != 0 && failed == 0)); then failed=1; fi
echo "$passed passed, $failed failed"
exit "$code"
