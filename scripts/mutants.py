#!/usr/bin/env python3
"""Applies each mutant of tests/mutants/*.toml by itself and requires that its test goes red.

usage: scripts/mutants.py [NAME ...]   all, or those whose name contains one of NAME

A mutant is a small wrong change to a rule of the code: file, the text it replaces, and the test that guards the rule.
In place of `test` it may have `command`, a shell command that must end with exit code 1, and `build`, one that
must succeed before. A file's [defaults] are of each of its mutants.
Works on the checkout itself, which must have no changes, and puts every file back. Each takes a build of its crate.
A test that hangs for ten minutes does not count as caught: it may hang for any reason, so a person has to judge it.
Exit codes: 0 every mutant was caught; 1 one was not, or did not apply; 2 wrong usage.
"""
import os
import pathlib
import signal
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEST_SECONDS_MAX = 600


def run(command):
    """Exit code and the errors of the command's run; the code is None if it did not end in time."""
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        errors = running.communicate(timeout=TEST_SECONDS_MAX)[1]
    except subprocess.TimeoutExpired:
        # nextest stops its tests, which have process groups of their own, when it is asked to end.
        os.killpg(running.pid, signal.SIGTERM)
        errors = running.communicate()[1]
        return None, errors
    return running.returncode, errors


def check(mutant):
    """Exit code and the errors of the mutant's test or command, and the exit code that means red."""
    if "test" in mutant:
        test = mutant["test"].split()
        return *run(["cargo", "nextest", "run", "--no-fail-fast", "--cargo-quiet", *test]), 100
    code, errors = run(["bash", "-c", mutant["build"]])
    if code != 0:
        # Neither green nor red, whatever the build's code was.
        return code and -1, errors, 1
    return *run(["bash", "-c", mutant["command"]]), 1


def judge(mutant):
    """Why the mutant does not count as caught; None if it does."""
    path = ROOT / mutant["file"]
    before = path.read_text()
    if before.count(mutant["old"]) != 1:
        return f"its text stands {before.count(mutant['old'])} times in {mutant['file']}, not once"
    try:
        path.write_text(before.replace(mutant["old"], mutant["new"]))
        code, errors, red = check(mutant)
    finally:
        path.write_text(before)
    if code is None:
        return f"its test did not end within {TEST_SECONDS_MAX} s"
    if code == red:
        return None
    if code == 0:
        return "its test stays green"
    return "no test ran: " + (errors.strip().splitlines() or ["?"])[-1]


def main():
    wanted = sys.argv[1:]
    if any(word.startswith("-") for word in wanted):
        print(__doc__)
        return 0 if wanted == ["--help"] else 2
    if subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout:
        print("mutants: the checkout has changes; commit or stash them first", file=sys.stderr)
        return 2
    files = [tomllib.loads(file.read_text()) for file in sorted((ROOT / "tests/mutants").glob("*.toml"))]
    mutants = [file.get("defaults", {}) | mutant for file in files for mutant in file["mutant"]]
    mutants = [m for m in mutants if not wanted or any(word in m["name"] for word in wanted)]
    failed = 0
    for mutant in mutants:
        why = judge(mutant)
        failed += why is not None
        print(f"{'caught' if why is None else 'NOT CAUGHT'}  {mutant['name']}" + (f": {why}" if why else ""), flush=True)
    print(f"{len(mutants) - failed} passed, {failed} failed")
    return 1 if failed or not mutants else 0


sys.exit(main())
