"""Behind a proxy: the log names whom the proxy serves, and a list of proxies that is none is refused."""

from node import request


def test_an_order_is_logged_with_the_client_of_a_trusted_proxy(new_node, tmp_path):
    node = new_node(extra_environment={"ERLMCP_HTTP_TRUSTED_PROXIES": "127.0.0.0/8, ::1"})
    node.init()
    node.start().wait_ready()
    token = (tmp_path / "data" / "cluster1" / "admin.token").read_text().strip()
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "X-Forwarded-For": "198.51.100.1, 203.0.113.7, 127.0.0.9",
    }
    status, _, body = request(f"{node.url}/cluster/drain", {"node": 1, "draining": True}, headers)
    assert status == 200, body
    line = next(line for line in node.log_text().splitlines() if "operator sets draining" in line)
    assert "from=203.0.113.7" in line, line


def test_a_proxy_that_is_no_address_is_refused_by_name(new_node):
    done = new_node(extra_environment={"ERLMCP_HTTP_TRUSTED_PROXIES": "10.0.0.1, nginx"}).run("config", "check")
    assert done.returncode == 1
    assert 'ERLMCP_HTTP_TRUSTED_PROXIES: http.trusted_proxies is "nginx"; it must be an IP address' in done.stderr, done.stderr
