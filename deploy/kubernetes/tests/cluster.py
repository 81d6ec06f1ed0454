"""What the chart is checked against that runs: as much of an API server as Helm asks when it looks an object up, and a gateway."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The kinds of the chart with the defaults and an autoscaler.
KINDS = {
    "v1": ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
}


def plural(kind):
    """How a kind is called in paths."""
    return kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")


def resources(version):
    """What a group has."""
    named = [{"name": plural(kind), "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in KINDS[version]]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": named}


def group(version):
    """A group, which has one version here."""
    one = {"groupVersion": version, "version": version.split("/")[1]}
    return {"name": version.split("/")[0], "versions": [one], "preferredVersion": one}


ANSWERS = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(version) for version in KINDS if "/" in version]},
} | {f"/{'apis' if '/' in version else 'api'}/{version}": resources(version) for version in KINDS}
DEPLOYMENT = "/apis/apps/v1/namespaces/realtime/deployments/gateway"
AUTOSCALER = "/apis/autoscaling/v2/namespaces/realtime/horizontalpodautoscalers/gateway"
# Helm wants to know that it is its own.
OWNED = {
    "name": "gateway",
    "namespace": "realtime",
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "gateway", "meta.helm.sh/release-namespace": "realtime"},
}


@contextlib.contextmanager
def of(replicas, scaled=False):
    """A cluster whose Deployment has so many replicas, or that has none, and maybe an autoscaler; gives the path of a kubeconfig."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            answer = ANSWERS.get(path)
            if path == DEPLOYMENT and replicas is not None:
                answer = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": OWNED, "spec": {"replicas": replicas}}
            if path == AUTOSCALER and scaled:
                answer = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": OWNED}
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(answer or missing).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": ""}}],
        "current-context": "here",
    }
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(config, file)
            file.flush()
            yield file.name
    finally:
        server.shutdown()
        server.server_close()


def free_port():
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def gateway():
    """A node that is ready; gives its port for clients."""
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    environment = {"GATEWAY_LISTEN": f"127.0.0.1:{port}", "GATEWAY_ADMIN_LISTEN": admin, "GATEWAY_DATA_DIR": ""}
    binary = os.environ["GATEWAY_BIN"]
    node = subprocess.Popen([binary], env=environment, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while subprocess.run([binary, "healthcheck"], env=environment, stderr=subprocess.DEVNULL, check=False).returncode:
            if time.monotonic() > until:
                raise TimeoutError("the node is not ready after 30 s")
            time.sleep(0.05)
        yield port
    finally:
        node.terminate()
        node.wait()


@contextlib.contextmanager
def haproxy(configuration, folder):
    """HAProxy as the chart configures it, with no node behind it; gives a function that says with which status it answers a path."""
    port = free_port()
    for there, here in (("bind :8080", f"bind 127.0.0.1:{port}"), ("bind :8404", f"bind 127.0.0.1:{free_port()}")):
        configuration = configuration.replace(there, here)
    file = folder / "haproxy.cfg"
    file.write_text(configuration)
    path = f"{os.environ['PATH']}:/usr/sbin"
    line = [shutil.which("haproxy", path=path), "-f", file]
    balancer = subprocess.Popen(line, env={"PATH": path, "HAPROXY_COOKIE_KEY": "check"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path):
        until = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    try:
        yield ask
    finally:
        balancer.kill()
        balancer.wait()


@contextlib.contextmanager
def stranger():
    """A server that answers everything, and is no gateway; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>It works!</h1>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
