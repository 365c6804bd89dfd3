#!/usr/bin/env bash
# All tests: of every crate, of the documentation, and end to end. The last line says how many passed and
# how many failed. Exit codes: 0 all passed; 1 something failed, or nothing ran.
#
# End to end: every executable tests/e2e/*.sh, in order of name. Exit 0 is a pass; a script with many cases
# may print "N passed, N failed" as its last line, and is counted by that.
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

count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

# The sum of all numbers that stand before the word $1 on lines that match $2.
sum() {
    { grep -E "$2" "$out" || true; } | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'
}

# Counts a run of cargo: a failure that counted no failed test (it did not build) counts as one.
count_cargo() {
    local code=$1 pattern=$2 good bad
    good=$(sum passed "$pattern")
    bad=$(($(sum failed "$pattern") + $(sum 'timed out' "$pattern")))
    ((code == 0 || bad > 0)) || bad=1
    count "$good" "$bad"
}

if cargo nextest --version >/dev/null 2>&1; then
    shown cargo nextest run --workspace --no-fail-fast --status-level fail --final-status-level fail
    count_cargo $? '^ *Summary '
else
    shown cargo test --workspace --all-targets --no-fail-fast
    count_cargo $? '^test result:'
fi

shown cargo test --workspace --doc
count_cargo $? '^test result:'

for script in tests/e2e/*.sh; do
    [[ -x $script ]] || continue
    shown "$script"
    code=$?
    if [[ $(tail -n 1 "$out") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        bad=${BASH_REMATCH[2]}
        ((code == 0 || bad > 0)) || bad=1
        count "${BASH_REMATCH[1]}" "$bad"
    elif ((code == 0)); then
        count 1 0
    else
        printf 'FAILED %s (exit %s)\n' "$script" "$code"
        count 0 1
    fi
done

printf '\n%s passed, %s failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
