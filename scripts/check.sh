#!/usr/bin/env bash
# Everything that must hold before a change is merged: form, lints, documentation, tests.
# Stops at the first that does not. Exit codes: 0 all hold; otherwise that of the one that does not.
set -euo pipefail

cd "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")"

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --quiet
for script in scripts/*.sh .ci/run; do
    step bash -n "$script"
done
if command -v shellcheck >/dev/null; then
    step shellcheck scripts/*.sh .ci/run
fi
step scripts/test.sh
