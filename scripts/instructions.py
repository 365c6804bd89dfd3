#!/usr/bin/env python3
"""Counts the instructions of one call, exact to about 0.1 %, by valgrind's callgrind.

usage: scripts/instructions.py [--json] [--against FILE]

Each case is an ignored test of tests/edge/cost.rs or tests/upstream/cost.rs, built for release and run twice,
with few and with many calls; the difference is what a call costs. The client and a fake HTTP upstream are part
of the count; a stdio upstream is a process of its own and is not. --against compares with what --json printed
on another commit. Needs valgrind; takes about three minutes, and the build.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = {
    "edge": ["cost::native_legacy", "cost::native_modern", "cost::list_legacy", "cost::list_modern"],
    "upstream": ["cost::http_legacy", "cost::http_modern", "cost::stdio_legacy"],
}
FEW, MANY = 100, 600
# A list of 1,000 tools costs as much as a hundred calls.
FEW_LISTS, MANY_LISTS = 5, 25


def build():
    """Paths of the test binaries, by name."""
    command = ["cargo", "test", "--release", "--no-run", "--message-format=json"]
    command += [word for name in CASES for word in ("--test", name)]
    print("building for release ...", file=sys.stderr)
    # Without the cfg rustix reads the clock in a way that valgrind does not have.
    env = {"CARGO_TARGET_DIR": str(ROOT / "target" / "instructions"), **os.environ}
    env["RUSTFLAGS"] = "--cfg=rustix_use_libc"
    built = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for line in built.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] in CASES:
            found[message["target"]["name"]] = message["executable"]
    return found


def count(binary, case, calls):
    """Instructions of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", binary]
        command += [case, "--exact", "--ignored", "--test-threads=1"]
        run = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "ERLMCP_CALLS": str(calls)}, capture_output=True, text=True
        )
        if run.returncode != 0 or "1 passed" not in run.stdout:
            sys.exit(f"{case} with {calls} calls failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        return int(re.search(r"Collected : (\d+)", run.stderr).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--against", type=pathlib.Path, metavar="FILE", help="figures of another commit")
    options = parser.parse_args()
    before = json.loads(options.against.read_text()) if options.against else {}
    binaries, figures = build(), {}
    for name, cases in CASES.items():
        for case in cases:
            print(f"counting {case} ...", file=sys.stderr)
            few, many = (FEW_LISTS, MANY_LISTS) if "list" in case else (FEW, MANY)
            spent = count(binaries[name], case, many) - count(binaries[name], case, few)
            figures[case.removeprefix("cost::")] = spent // (many - few)
    if options.json:
        print(json.dumps(figures))
        return
    for case, instructions in figures.items():
        change = f"  {100 * (instructions / before[case] - 1):+.1f} %" if case in before else ""
        print(f"{case:14} {instructions:>9,} instructions a call{change}")


if __name__ == "__main__":
    main()
