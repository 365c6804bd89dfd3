"""scripts/docker-cluster.sh: four containers behind HAProxy, used as a client would, then killed, cut off and stopped."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from mcp import Client
from node import BINARY, ROOT, call_tool, free_port_base, request, wait_for
from test_conformance import SUITES, expect_all, tool_names

SCRIPT = ROOT / "scripts" / "docker-cluster.sh"
HAPROXY = "haproxy:2.6"
PROJECT = "erlmcp-test"
NODES = 4
# A container that is killed leaves no address that would refuse: HAProxy has to find out.
NOTICED_S = 3.0
FIXTURE_PORT = 9399


def docker(*words, timeout=60):
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout)


def need_engine():
    try:
        answer = docker("version", "--format", "{{.Server.Version}}")
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no Docker engine answers: {error}")
    if answer.returncode != 0:
        pytest.skip(f"no Docker engine answers: {answer.stderr.strip()}")
    if docker("compose", "version").returncode != 0 and shutil.which("docker-compose") is None:
        pytest.skip("neither the compose plugin nor docker-compose is there")


def need_haproxy():
    if docker("image", "inspect", HAPROXY).returncode == 0 or docker("pull", HAPROXY, timeout=120).returncode == 0:
        return
    made = subprocess.run([str(ROOT / "scripts" / "docker-bases.sh")], capture_output=True, text=True, timeout=300)
    # A machine that reaches neither a registry nor a mirror has no HAProxy to test with; a script that is wrong is another matter.
    if any(words in made.stderr for words in ("debootstrap failed", "debootstrap is missing", "needs root")):
        pytest.skip(f"{HAPROXY} can neither be pulled nor made: {made.stderr.strip()}")
    assert made.returncode == 0, f"{made.stdout}{made.stderr}"


class Containers:
    """The cluster of this file: its own project, ports and network."""

    def __init__(self, directory):
        self.directory = directory
        base = free_port_base(3)
        self.ports = {"ERLMCP_PROXY_PORT": base, "ERLMCP_HTTP_PORT": base + 1, "ERLMCP_STATS_PORT": base + 2}
        self.prefix = free_prefix()
        self.url = f"http://localhost:{base}"
        self.config = directory / "cluster.toml"
        self.config.write_text(
            f'[gateway]\nnames = "never"\n\n[[upstream]]\nname = "fixture"\nrestart_max_ms = 500\n'
            f'url = "http://{self.prefix}.1:{FIXTURE_PORT}/mcp"\n'
        )

    def environment(self):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ERLMCP_")}
        own = {
            "ERLMCP_BIN": str(BINARY),
            "ERLMCP_PROJECT": PROJECT,
            "ERLMCP_SUBNET": f"{self.prefix}.0/24",
            "ERLMCP_DATA_DIR": str(self.directory / "data"),
            "ERLMCP_CONFIG": str(self.config),
        }
        return clean | own | {name: str(port) for name, port in self.ports.items()}

    def script(self, *words, timeout=180, **environment):
        return subprocess.run(
            [str(SCRIPT), *words], env=self.environment() | environment, capture_output=True, text=True, timeout=timeout
        )

    def ok(self, *words, **more):
        done = self.script(*words, **more)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self, node):
        done = docker("exec", name(node), "erlmcp-node", "status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def is_whole(self):
        return all(
            self.status(node)["node"]["ready"] and self.status(node)["cluster"]["health"] == "ok" for node in range(1, NODES + 1)
        )


def free_prefix():
    taken = docker("network", "inspect", *docker("network", "ls", "-q").stdout.split()).stdout
    return next(prefix for n in range(200, 250) if (prefix := f"172.29.{n}") not in taken)


def name(node):
    return f"{PROJECT}-node{node}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    need_engine()
    need_haproxy()
    containers = Containers(tmp_path_factory.mktemp("docker"))
    docker("image", "rm", f"{PROJECT}-node:local")
    begun = time.monotonic()
    try:
        printed = containers.ok("start")
        ready = next(line for line in printed.splitlines() if "formed and ready" in line)
        print(f"\nfrom nothing but the binary to: {ready}; image included {time.monotonic() - begun:.1f} s")
        containers.printed = printed
        yield containers
    finally:
        done = containers.script("stop", "--volumes")
        docker("image", "rm", f"{PROJECT}-node:local")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def fixture(cluster):
    """The conformance fixture on this host, where the containers reach it."""
    binary = BINARY.parent / "examples" / "conformance-fixture"
    words = [str(binary), "--host", f"{cluster.prefix}.1", "--port", str(FIXTURE_PORT)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline().startswith("http://")
    for _ in range(2 * NODES):
        wait_for("the fixture's tools", lambda: "test_simple_text" in tool_names(cluster.url))
    yield
    process.kill()
    process.wait()


class Caller(threading.Thread):
    """Modern calls through HAProxy, one after the other, each on a connection of its own."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.stopped, self.calls = url, threading.Event(), []

    def run(self):
        while not self.stopped.is_set():
            begun = time.monotonic()
            try:
                call_tool(self.url, "echo", {"text": "x"}, timeout=10)
                why = None
            except (OSError, AssertionError, ValueError) as error:
                why = repr(error)[:300]
            self.calls.append((begun, time.monotonic(), why))
            time.sleep(0.01)

    def failed(self, since=0.0):
        return [why for begun, _, why in self.calls if why and begun >= since]

    def longest_gap(self):
        ends = [end for _, end, why in self.calls if why is None]
        return max(later - earlier for earlier, later in zip(ends, ends[1:]))


@pytest.fixture
def callers(cluster):
    callers = [Caller(cluster.url) for _ in range(4)]
    for caller in callers:
        caller.start()
    wait_for("calls are answered", lambda: all(len(caller.calls) > 5 for caller in callers))
    yield callers
    for caller in callers:
        caller.stopped.set()
    for caller in callers:
        caller.join(20)


def test_nodes_are_small_ready_and_not_root(cluster):
    size = int(docker("image", "inspect", "--format", "{{.Size}}", f"{PROJECT}-node:local").stdout)
    states = docker("ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Names}}").stdout.split()
    assert sorted(states) == [f"{PROJECT}-haproxy"] + [name(node) for node in range(1, NODES + 1)]
    for container in states:
        top = docker("top", container, "-eo", "pid,uid,args").stdout.splitlines()[1:]
        assert top and not [line for line in top if line.split()[1] == "0"], top
        inspected = json.loads(docker("inspect", container).stdout)[0]
        assert inspected["HostConfig"]["ReadonlyRootfs"] and not inspected["HostConfig"]["Privileged"]
    memory = docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").stdout.strip().replace("\n", "; ")
    print(f"\nimage {size / 1e6:.0f} MB; memory {memory}")
    wait_for("all are healthy", lambda: all("(healthy)" in docker("ps", "--filter", f"name={name(n)}", "--format", "{{.Status}}").stdout
                                            for n in range(1, NODES + 1)), seconds=30)


def test_status_and_logs_say_something(cluster):
    status = cluster.ok("status")
    assert status.count(" ready ") == NODES and "172." in status and "formed" in status, status
    assert "started" in cluster.ok("logs", "2")
    assert cluster.script("logs", "9").returncode == 1
    assert json.loads(cluster.ok("logs", "1").splitlines()[-1])
    for line in ("/cluster/status", "/mcp", "docker exec", "stop"):
        assert line in cluster.printed, cluster.printed


def test_a_second_start_changes_nothing(cluster):
    def containers():
        return docker("ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.ID}} {{.Names}}").stdout

    before = containers()
    assert "replaced" not in cluster.ok("start")
    assert containers() == before


def test_who_is_in_the_way_is_named(cluster, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = {"ERLMCP_PROJECT": "erlmcp-other", "ERLMCP_DATA_DIR": str(tmp_path)}
        done = cluster.script("start", ERLMCP_PROXY_PORT=port, **other)
        assert done.returncode == 1 and f"port {port} is taken by" in done.stderr and f"pid {os.getpid()}" in done.stderr, done.stderr
    free = free_port_base(3)
    ports = {"ERLMCP_PROXY_PORT": str(free), "ERLMCP_HTTP_PORT": str(free + 1), "ERLMCP_STATS_PORT": str(free + 2)}
    done = cluster.script("start", **other, **ports)
    assert done.returncode == 1 and f"taken by the Docker network {PROJECT}_net" in done.stderr, done.stderr
    done = cluster.script("start", ERLMCP_DATA_DIR=str(tmp_path))
    assert done.returncode == 1 and "have their state in" in done.stderr, done.stderr
    for wrong in (["start", "--nodes", "0"], ["begin"], ["stop", "--nodes", "2"]):
        assert cluster.script(*wrong).returncode == 2, wrong


def test_the_proxy_serves_status_and_refuses_orders(cluster):
    for port in (cluster.ports["ERLMCP_PROXY_PORT"], cluster.ports["ERLMCP_HTTP_PORT"]):
        status = json.loads(request(f"http://localhost:{port}/cluster/status")[2])
        assert status["cluster"]["formation"] == "formed"
    code, _, text = request(f"{cluster.url}/cluster/drain", {"node": 2, "draining": True})
    assert code == 403 and b"docker exec" in text
    statistics = request(f"http://localhost:{cluster.ports['ERLMCP_STATS_PORT']}/stats;csv")[2].decode()
    up = [line for line in statistics.splitlines() if line.startswith("nodes,n") and ",UP," in line]
    assert len(up) == NODES, statistics


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_sdk_client_works_through_the_proxy(cluster, mode):
    async def story():
        async with asyncio.timeout(30):
            # Each may begin at another node, and is bound to that one.
            async def one(number):
                async with Client(f"{cluster.url}/mcp", mode=mode, read_timeout_seconds=10) as client:
                    for turn in range(5):
                        result = await client.call_tool("echo", {"text": f"{number} {turn}"})
                        assert f"{number} {turn}" in result.content[0].text

            await asyncio.gather(*(one(number) for number in range(8)))

    asyncio.run(story())


@pytest.mark.parametrize("suite", SUITES)
def test_the_cluster_conforms_through_the_proxy(cluster, fixture, suite, tmp_path):
    expect_all(suite, f"{cluster.url}/mcp", tmp_path / "out")


def test_a_drained_node_gets_no_new_clients_and_fails_none(cluster, callers):
    done = docker("exec", name(1), "erlmcp-node", "drain", "--id", "3")
    assert done.returncode == 0, done.stderr
    statistics = f"http://localhost:{cluster.ports['ERLMCP_STATS_PORT']}/stats;csv"

    def state():
        lines = request(statistics)[2].decode().splitlines()
        return next(line.split(",")[17] for line in lines if line.startswith("nodes,n3,"))

    wait_for("HAProxy holds it for leaving", lambda: state() == "NOLB")
    # What was on its way when HAProxy found out may be refused; from now on nothing is.
    since = time.monotonic()
    wait_for("calls go on", lambda: all(caller.calls[-1][0] > since + 0.5 for caller in callers))
    assert not [why for caller in callers for why in caller.failed(since)]
    assert docker("exec", name(3), "erlmcp-node", "undrain", "--id", "3").returncode == 0
    wait_for("HAProxy uses it again", lambda: state() == "UP")


def test_the_leader_killed_no_call_fails_after_three_seconds_and_it_comes_back(cluster, callers):
    leader = wait_for("a leader", lambda: cluster.status(1)["leader"])
    killed = time.monotonic()
    assert docker("kill", name(leader)).returncode == 0
    wait_for("calls long after the kill", lambda: all(caller.calls[-1][0] > killed + NOTICED_S + 2 for caller in callers))
    late = [why for caller in callers for why in caller.failed(killed + NOTICED_S)]
    early = [why for caller in callers for why in caller.failed()]
    print(f"\nleader killed: {len(early)} of {sum(len(c.calls) for c in callers)} calls failed, {len(late)} of them begun later than "
          f"{NOTICED_S} s; longest gap of a caller {max(c.longest_gap() for c in callers):.2f} s")
    assert not late
    cluster.ok("start")
    wait_for("it has caught up", cluster.is_whole)


def test_a_node_that_was_cut_off_rejoins_and_the_others_serve(cluster, callers):
    address = f"{cluster.prefix}.3"
    cut = time.monotonic()
    assert docker("network", "disconnect", f"{PROJECT}_net", name(2)).returncode == 0
    # The leader knows; it may have been the one that was cut off.
    wait_for("the others miss it", lambda: any(member(cluster.status(node), 2)["healthy"] is False for node in (1, 3, 4)))
    wait_for("calls long after the cut", lambda: all(caller.calls[-1][0] > cut + NOTICED_S + 1 for caller in callers))
    assert not [why for caller in callers for why in caller.failed(cut + NOTICED_S)]
    assert docker("network", "connect", "--ip", address, "--alias", "node2", f"{PROJECT}_net", name(2)).returncode == 0
    wait_for("it is a member again", cluster.is_whole, seconds=30)


def member(status, node):
    return next(member for member in status["members"] if member["id"] == node)


def test_a_node_stopped_under_load_fails_no_call_and_exits_in_time(cluster, callers):
    wait_for("whole", cluster.is_whole)
    begun = time.monotonic()
    assert docker("stop", "--time", "30", name(4)).returncode == 0
    took = time.monotonic() - begun
    state = json.loads(docker("inspect", name(4)).stdout)[0]["State"]
    failed = [why for caller in callers for why in caller.failed(begun)]
    print(f"\ndocker stop under load: {took:.1f} s, exit {state['ExitCode']}, {len(failed)} of {sum(len(c.calls) for c in callers)} calls failed")
    assert state["ExitCode"] == 0 and took < 20
    assert not failed, failed[:3]
    cluster.ok("start")
    wait_for("it is back", cluster.is_whole)
