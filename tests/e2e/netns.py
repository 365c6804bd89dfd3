"""Nodes in network namespaces of their own, so that a node can be cut off from its peers while its clients still reach it.

Each node has a link to the test, for clients, and one to a hub, for peers. Needs root and iproute2.
"""

import os
import shutil
import subprocess

from node import BINARY, NO_BALANCER, request, wait_for

# Of link-local use only: nothing outside the namespaces sees them.
CLIENTS, PEERS = "10.77", "10.78.0"


def can_run():
    return os.geteuid() == 0 and shutil.which("ip") is not None


def ip(*words, namespace=None):
    inside = ["-n", namespace] if namespace else []
    done = subprocess.run(["ip", *inside, *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Apart:
    """A cluster of nodes in namespaces."""

    def __init__(self, directory, nodes=4, extra_environment=None):
        self.directory, self.nodes, self.extra_environment = directory, nodes, extra_environment or {}
        self.tag = f"e{os.getpid() % 100_000}"
        self.hub = f"{self.tag}hub"
        self.processes = {}

    def ids(self):
        return range(1, self.nodes + 1)

    def namespace(self, node):
        return f"{self.tag}n{node}"

    def address(self, node):
        return f"{CLIENTS}.{node}.2"

    def url(self, node):
        return f"http://{self.address(node)}:8080"

    def lay(self):
        """Makes namespaces and links."""
        ip("netns", "add", self.hub)
        ip("link", "add", "bridge", "type", "bridge", namespace=self.hub)
        ip("link", "set", "bridge", "up", namespace=self.hub)
        for node in self.ids():
            own = self.namespace(node)
            ip("netns", "add", own)
            ip("link", "set", "lo", "up", namespace=own)
            # A netns' name is too long beside the rest of a link's.
            ip("link", "add", f"{self.tag}c{node}", "type", "veth", "peer", "name", "clients", "netns", own)
            ip("addr", "add", f"{CLIENTS}.{node}.1/30", "dev", f"{self.tag}c{node}")
            ip("link", "set", f"{self.tag}c{node}", "up")
            ip("addr", "add", f"{self.address(node)}/30", "dev", "clients", namespace=own)
            ip("link", "set", "clients", "up", namespace=own)
            ip("link", "add", f"p{node}", "netns", self.hub, "type", "veth", "peer", "name", "peers", "netns", own)
            ip("link", "set", f"p{node}", "master", "bridge", namespace=self.hub)
            ip("link", "set", f"p{node}", "up", namespace=self.hub)
            ip("addr", "add", f"{PEERS}.{node}/24", "dev", "peers", namespace=own)
            ip("link", "set", "peers", "up", namespace=own)

    def environment(self, node):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ERLMCP_")}
        own = {
            "ERLMCP_DATA_DIR": str(self.directory / "data"),
            "ERLMCP_CLUSTER_NODES": ",".join(f"{n}={PEERS}.{n}:9200" for n in self.ids()),
            "ERLMCP_HTTP_LISTEN": f"{self.address(node)}:8080",
            "ERLMCP_PEER_LISTEN": f"{PEERS}.{node}:9200",
            "ERLMCP_CONNECTIONS_INSECURE": "true",
            **NO_BALANCER,
        }
        return clean | own | self.extra_environment

    def start(self):
        for node in self.ids():
            done = subprocess.run([str(BINARY), "init", "--id", str(node)], env=self.environment(node), capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        for node in self.ids():
            log = open(self.directory / f"node{node}.log", "ab")
            command = ["ip", "netns", "exec", self.namespace(node), str(BINARY), "start", "--id", str(node)]
            self.processes[node] = subprocess.Popen(command, env=self.environment(node), stdout=log, stderr=log)
        for node in self.ids():
            wait_for(f"node {node} ready", lambda node=node: request(f"{self.url(node)}/readyz", timeout=2)[0] == 200, 30)

    def cut_off(self, node):
        """Takes the node's link to its peers away."""
        ip("link", "set", f"p{node}", "down", namespace=self.hub)

    def heal(self, node):
        ip("link", "set", f"p{node}", "up", namespace=self.hub)

    def tables(self):
        """The kernel's table of connections in the namespace of each node."""
        return {node: f"/proc/{process.pid}/net/tcp" for node, process in self.processes.items()}

    def log_text(self, node):
        return (self.directory / f"node{node}.log").read_text(errors="replace")

    def end(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
        for node in self.ids():
            subprocess.run(["ip", "netns", "del", self.namespace(node)], capture_output=True)
            subprocess.run(["ip", "link", "del", f"{self.tag}c{node}"], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.hub], capture_output=True)
