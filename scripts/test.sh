#!/usr/bin/env bash
# All tests: of every crate, of the documentation, and end to end. The last line says how many passed and
# how many failed. Exit codes: 0 all passed; 1 something failed, or nothing ran.
#
# End to end: every executable tests/e2e/*.sh, in order of name. Exit 0 is a pass; a script with many cases
# prints "N passed, N failed" as its last line, and is counted by that.
set -uo pipefail

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
cd "$root" || exit 1
export CARGO_TERM_COLOR=never

out=$(mktemp)
trap 'rm -f "$out"' EXIT
passed=0
failed=0

# Runs a command, shows what it says, and keeps it in $out.
shown() {
    printf '\n== %s\n' "$*"
    "$@" 2>&1 | tee "$out"
    return "${PIPESTATUS[0]}"
}

# The sum of all numbers that stand before the word $1 on lines that match $2.
sum() {
    { grep -E "$2" "$out" || true; } | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'
}

# Adds the counts of lines that match $2; a command that failed ($1) and counted no failure counts as one.
count() {
    local code=$1 pattern=$2 bad=0 word
    for word in failed 'timed out' error; do
        bad=$((bad + $(sum "$word" "$pattern")))
    done
    ((code == 0 || bad > 0)) || bad=1
    passed=$((passed + $(sum passed "$pattern")))
    failed=$((failed + bad))
}

if cargo nextest --version >/dev/null 2>&1; then
    shown cargo nextest run --workspace --no-fail-fast --status-level fail --final-status-level fail
    count $? '^ *Summary '
else
    shown cargo test --workspace --all-targets --no-fail-fast
    count $? '^test result:'
fi

shown cargo test --workspace --doc
count $? '^test result:'

for script in tests/e2e/*.sh; do
    [[ -x $script ]] || continue
    shown "$script"
    code=$?
    if [[ $(tail -n 1 "$out") =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]]; then
        tail -n 1 "$out" >"$out.last" && mv "$out.last" "$out"
        count "$code" '^[0-9]+ passed, [0-9]+ failed$'
    elif ((code == 0)); then
        passed=$((passed + 1))
    else
        printf 'FAILED %s (exit %s)\n' "$script" "$code"
        failed=$((failed + 1))
    fi
done

printf '\n%s passed, %s failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
