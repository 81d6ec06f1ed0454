"""A real cluster without machines: etcd, API server, controllers and scheduler, and kwok, which says what kubelets would say.

All of them run on loopback, on ports that nobody had. `.ci/tools kubernetes` puts them into `.tools/kubernetes`.
"""

import contextlib
import json
import shutil
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from checks import eventually
from cluster import free_port

HERE = Path(__file__).resolve().parent
KUBERNETES = HERE.parents[2] / ".tools" / "kubernetes"
# Who may ask, and in which group: the operator may do everything, the deployer what a RoleBinding says, each program its part.
USERS = {
    "operator": "system:masters",
    "deployer": "deployers",
    "system:kube-controller-manager": "controllers",
    "system:kube-scheduler": "schedulers",
    "kwok": "system:masters",
}
# Three machines in three zones, and one that is kept for those who tolerate it.
MACHINES = [("m-1", "a", None), ("m-2", "b", None), ("m-3", "c", None), ("m-pool", "a", "realtime")]


def unverified():
    """The API server's certificate is made when it starts, and by itself."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return trust


class Cluster:
    """What the API server is asked, as the operator, and how others reach it."""

    def __init__(self, folder, port):
        self.folder, self.address = folder, f"https://127.0.0.1:{port}"
        for user in USERS:
            self.kubeconfig(user).write_text(json.dumps(self._config(user)))

    def kubeconfig(self, user="operator"):
        """The file by which programs ask as somebody."""
        return self.folder / f"{user.replace(':', '-')}.kubeconfig"

    def _config(self, user):
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": self.address, "insecure-skip-tls-verify": True}}],
            "users": [{"name": user, "user": {"token": f"token-of-{user}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": user}}],
            "current-context": "here",
        }

    def _open(self, path, body, method, kind, timeout=60):
        headers = {"Authorization": "Bearer token-of-operator", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        return urllib.request.urlopen(request, timeout=timeout, context=unverified())

    def ask(self, path, body=None, method=None, kind="application/json"):
        """A request; gives its status and the answer."""
        try:
            with self._open(path, body, method, kind) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            return error.code, json.loads(text) if text.startswith("{") else {"message": text}

    def get(self, path):
        """What is there, or nothing."""
        status, answer = self.ask(path)
        return answer if status == 200 else None

    def make(self, path, body):
        """Makes an object."""
        status, answer = self.ask(path, body)
        if status != 201:
            raise RuntimeError(f"POST {path}: {status} {answer.get('message')}")
        return answer

    @contextlib.contextmanager
    def watching(self, path, seen):
        """Calls `seen(type, object)` with what is there and with each change, as long as the block goes on."""
        listed = self.get(path)
        for item in listed["items"]:
            seen("ADDED", item)
        query = f"{'&' if '?' in path else '?'}watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
        # For as long as nothing changes.
        lines = self._open(path + query, None, None, "application/json", timeout=None)
        done = threading.Event()

        def follow():
            # Whoever ends the block cuts the connection.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                for line in lines:
                    change = json.loads(line)
                    if done.is_set():
                        return
                    seen(change["type"], change["object"])

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()


def answers(url):
    """Whether a server says that it is well."""
    try:
        with urllib.request.urlopen(url, timeout=5, context=unverified()) as answer:
            return answer.status == 200
    except OSError:
        return False


def machine(name, zone, pool):
    """A machine that is as large as most."""
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, "kubernetes.io/os": "linux"}
    size = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    taints = [{"key": "pool", "value": pool, "effect": "NoSchedule"}] if pool else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels | ({"pool": pool} if pool else {})},
        "spec": {"taints": taints},
        "status": {"allocatable": size, "capacity": size},
    }


def usable(node):
    """Whether pods may come to a machine."""
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    return ready and not any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", []))


@contextlib.contextmanager
def running():
    """The cluster, as long as the block goes on. If that fails, the ends of its programs' logs are told."""
    children, folder = {}, Path(tempfile.mkdtemp(prefix="kubernetes-"))

    def log(name):
        return folder / f"{name}.log"

    def start(name, *arguments):
        # kwok is a program of its own; the others are one.
        program = [KUBERNETES / name] if name == "kwok" else [KUBERNETES / "kubernetes", name]
        with log(name).open("w") as to:
            children[name] = subprocess.Popen([*program, *map(str, arguments)], stdout=to, stderr=to, cwd=folder)

    def all_run():
        for name, child in children.items():
            if child.poll() is not None:
                raise RuntimeError(f"{name} ended with {child.returncode}")
        return True

    try:
        key = folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text("".join(f'token-of-{user},{user},{user},"{group}"\n' for user, group in USERS.items()))
        clients, peers, port = (free_port() for _ in range(3))
        cluster = Cluster(folder, port)
        start(
            "etcd",
            *("--data-dir", folder / "etcd", "--log-level=warn", "--unsafe-no-fsync"),
            *(f"--listen-client-urls=http://127.0.0.1:{clients}", f"--advertise-client-urls=http://127.0.0.1:{clients}"),
            *(f"--listen-peer-urls=http://127.0.0.1:{peers}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}"),
            f"--initial-cluster=default=http://127.0.0.1:{peers}",
        )
        eventually("etcd is well", lambda: all_run() and answers(f"http://127.0.0.1:{clients}/health"))
        start(
            "kube-apiserver",
            *(f"--etcd-servers=http://127.0.0.1:{clients}", f"--secure-port={port}", "--bind-address=127.0.0.1"),
            *("--cert-dir", folder / "certificates", "--token-auth-file", folder / "tokens.csv", "--authorization-mode=RBAC"),
            *("--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none"),
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}"),
            f"--service-account-signing-key-file={key}",
        )
        eventually("the API server is ready", lambda: all_run() and answers(f"{cluster.address}/readyz"), 120)
        own = cluster.kubeconfig("system:kube-controller-manager")
        start(
            "kube-controller-manager",
            *("--kubeconfig", own, "--authentication-kubeconfig", own, "--authorization-kubeconfig", own, "--secure-port=0"),
            *("--leader-elect=false", "--use-service-account-credentials=true", f"--service-account-private-key-file={key}"),
            # An autoscaler looks each second, and at once: it is not its patience that is looked at.
            *("--horizontal-pod-autoscaler-sync-period=1s", "--horizontal-pod-autoscaler-initial-readiness-delay=1ms"),
        )
        own = cluster.kubeconfig("system:kube-scheduler")
        start(
            "kube-scheduler",
            *("--kubeconfig", own, "--authentication-kubeconfig", own, "--authorization-kubeconfig", own, "--secure-port=0"),
            "--leader-elect=false",
        )
        start(
            "kwok",
            *("--kubeconfig", cluster.kubeconfig("kwok"), "--config", HERE / "machines.yaml", "--manage-all-nodes=true"),
            *("--node-lease-duration-seconds=40", "--node-ip=127.0.0.1", f"--server-address=127.0.0.1:{free_port()}"),
        )
        for each in MACHINES:
            cluster.make("/api/v1/nodes", machine(*each))
        eventually("machines are ready", lambda: all_run() and all(usable(node) for node in cluster.get("/api/v1/nodes")["items"]))
        yield cluster
        all_run()
    except BaseException:
        for name in children:
            print(f"-- the end of {name}'s log\n{log(name).read_text()[-2000:]}")
        raise
    finally:
        # First who asks, then who is asked.
        for child in reversed(children.values()):
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(folder)
