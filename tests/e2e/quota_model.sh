#!/usr/bin/env bash
# Every state of the quota protocol for one node, with each thing that may go wrong: no violation.
# The full forms: cargo run --profile proof -p erlmcp-model -- --nodes 1 (or 2, 3)
set -euo pipefail
cd "$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")"

cargo build --quiet --profile proof -p erlmcp-model
"${CARGO_TARGET_DIR:-target}/proof/quota-model" --minutes 5
