#!/usr/bin/env bash
# The connection limit in simulation: 200 seeds without a violation and with every situation reached, the same
# trace from the same seed, violations where clocks drift four times as much as the protocol allows for or where a leader that is cut
# off renews its own share, and how much of the limit is used at how many commits a second.
# The full form: cargo run --profile proof -p erlmcp-sim -- --seeds 0..10000
set -euo pipefail
cd "$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")"

cargo build --quiet --profile proof -p erlmcp-sim
sim=${CARGO_TARGET_DIR:-target}/proof/quota-sim
"$sim" --seeds 0..200
"$sim" --seeds 0..40 --twice
"$sim" --use
for broken in "--drift-ppm 40000" --local-renewals; do
    code=0
    # shellcheck disable=SC2086
    "$sim" --seeds 0..200 --laws-only $broken >/dev/null || code=$?
    if [ "$code" != 1 ]; then
        echo "$broken broke nothing: the simulation finds nothing" >&2
        exit 1
    fi
done
