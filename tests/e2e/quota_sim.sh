#!/usr/bin/env bash
# The connection limit in simulation: 200 seeds without a violation and with every situation reached, the same
# trace from the same seed, violations where clocks drift four times as much as the protocol allows for, and how
# much of the limit is used at how many commits a second.
# The full form: cargo run --profile proof -p erlmcp-sim -- --seeds 0..10000
set -euo pipefail
cd "$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")"

cargo build --quiet --profile proof -p erlmcp-sim
sim=${CARGO_TARGET_DIR:-target}/proof/quota-sim
"$sim" --seeds 0..200
"$sim" --seeds 0..40 --twice
"$sim" --use
if "$sim" --seeds 0..200 --drift-ppm 40000 >/dev/null; then
    echo "clocks that drift by 4 % broke nothing: the simulation finds nothing" >&2
    exit 1
fi
