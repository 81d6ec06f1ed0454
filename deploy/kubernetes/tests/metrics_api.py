"""The custom-metrics API, as prometheus-adapter is it for an autoscaler: it says how many connections each pod has."""

import contextlib
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

API = "custom.metrics.k8s.io/v1beta1"
METRIC = {"name": "pods/gateway_connections", "singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}


class Metrics:
    """What is said: `connections` of every pod, and nothing while that is None."""

    connections = None
    asked = 0


def handler(cluster, metrics):
    """Answers what the API server passes on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            status, answer = 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            if parts.path == f"/apis/{API}":
                status, answer = 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API, "resources": [METRIC]}
            elif unquote(parts.path).endswith("/pods/*/gateway_connections"):
                metrics.asked += 1
                if metrics.connections is not None:
                    namespace = parts.path.split("/")[5]
                    selector = parse_qs(parts.query).get("labelSelector", [""])[0]
                    pods = cluster.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={quote(selector)}")["items"]
                    status, answer = 200, self.values(pods)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def values(self, pods):
            def value(pod):
                who = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
                said = str(metrics.connections)
                return {"describedObject": who, "metricName": "gateway_connections", "timestamp": pod["metadata"]["creationTimestamp"], "value": said}

            return {"kind": "MetricValueList", "apiVersion": API, "metadata": {}, "items": [value(pod) for pod in pods]}

        def log_message(self, *_):
            pass

    return Handler


@contextlib.contextmanager
def serving(cluster):
    """The API, registered with the API server as long as the block goes on; gives what it says."""
    key, certificate = cluster.folder / "metrics.key", cluster.folder / "metrics.crt"
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
    subprocess.run(["openssl", "req", "-x509", *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    metrics = Metrics()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(cluster, metrics))
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate, key)
    server.socket = trust.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = {"name": "custom-metrics", "namespace": "default"}
    # The API server goes to where the Service's name leads, which is here.
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": server.server_port}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": where, "spec": spec}
    wanted = {
        "service": where | {"port": server.server_port},
        "group": API.split("/")[0],
        "version": API.split("/")[1],
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    name = ".".join(reversed(API.split("/")))
    registered = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}, "spec": wanted}
    cluster.make("/api/v1/namespaces/default/services", service)
    cluster.make("/apis/apiregistration.k8s.io/v1/apiservices", registered)
    try:
        yield metrics
    finally:
        cluster.ask(f"/apis/apiregistration.k8s.io/v1/apiservices/{name}", method="DELETE")
        cluster.ask("/api/v1/namespaces/default/services/custom-metrics", method="DELETE")
        server.shutdown()
        server.server_close()
