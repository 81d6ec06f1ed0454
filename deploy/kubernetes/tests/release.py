"""A release of the chart in a real cluster: what is done to it, and what there is of it then."""

import contextlib
import os
from pathlib import Path

import check as renders
from checks import eventually

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
NODES = "app.kubernetes.io/component=node"
# What a cluster puts into a namespace by itself, or keeps of what was there.
OF_THE_CLUSTER = ("event", "serviceaccount/default", "configmap/kube-root-ca.crt")


def program(cluster, name, *arguments, user="operator", seconds=300, **more):
    """Runs helm or kubectl as somebody, with folders of its own."""
    own = {f"HELM_{kind}_HOME": str(cluster.folder / f"helm-{kind.lower()}") for kind in ("CACHE", "CONFIG", "DATA")}
    environment = {"PATH": f"{renders.TOOLS}:{os.environ['PATH']}", "HOME": str(cluster.folder), "KUBECONFIG": str(cluster.kubeconfig(user))}
    return renders.run(name if "/" in name else renders.tool(name), *arguments, env=environment | own, timeout=seconds, **more)


def namespace(cluster, name, *secrets):
    """A namespace that admits only pods which may do little, with Secrets that values name."""
    cluster.make("/api/v1/namespaces", {"metadata": {"name": name, "labels": RESTRICTED}})
    for secret in secrets:
        data = {"GATEWAY_REDIS_URL": "redis://valkey:6379"} if secret != "gateway-cookie" else {"key": "0123456789abcdef"}
        cluster.make(f"/api/v1/namespaces/{name}/secrets", {"metadata": {"name": secret}, "stringData": data})
    eventually("there is an account for pods", lambda: cluster.get(f"/api/v1/namespaces/{name}/serviceaccounts/default"))


def contents(cluster, name):
    """All that is in a namespace, as kind/name."""
    _, kinds, _ = program(cluster, "kubectl", "api-resources", "--verbs=list", "--namespaced", "--output=name", "--cached=false")
    # What is kept under two groups is asked for once.
    wanted = sorted(kind for kind in kinds.split() if not kind.startswith("events") and "metrics.k8s.io" not in kind)
    code, out, said = program(cluster, "kubectl", "get", ",".join(wanted), "--namespace", name, "--output=name", "--ignore-not-found")
    if code:
        raise RuntimeError(f"kubectl get: {said}")
    return {line for line in out.split() if not line.startswith(OF_THE_CLUSTER)}


def ready(pod):
    """Whether a pod is in its Service, and is to stay there."""
    conditions = pod.get("status", {}).get("conditions", [])
    return not pod["metadata"].get("deletionTimestamp") and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Count:
    """How many pods are ready and how many there are, at the least and at the most, over a time."""

    def __init__(self):
        self.known, self.fewest, self.most = {}, None, None

    def begin(self):
        """From here on."""
        self.fewest = self.most = None
        self._look()

    def seen(self, change, pod):
        """Takes a change in."""
        self.known[pod["metadata"]["uid"]] = pod
        if change == "DELETED":
            del self.known[pod["metadata"]["uid"]]
        self._look()

    def _look(self):
        staying = [pod for pod in self.known.values() if not pod["metadata"].get("deletionTimestamp")]
        now = sum(map(ready, staying))
        self.fewest = now if self.fewest is None else min(self.fewest, now)
        self.most = len(staying) if self.most is None else max(self.most, len(staying))


class Release:
    """What is done to one release."""

    def __init__(self, cluster, where, name="gateway", user="operator"):
        self.cluster, self.where, self.name, self.user = cluster, where, name, user
        self.full = name if "gateway" in name else f"{name}-gateway"

    def helm(self, verb, *arguments, chart=renders.CHART, seconds=300):
        """Helm's verb; gives how it ended, what it said, and what it complained about."""
        chart = [chart] if verb in ("install", "upgrade") else []
        return program(self.cluster, "helm", verb, self.name, *chart, *arguments, "--namespace", self.where, user=self.user, seconds=seconds)

    def done(self, what, verb, *arguments, **more):
        """Helm's verb, which must succeed without a warning; gives what it said."""
        code, out, said = self.helm(verb, *arguments, **more)
        renders.check(code == 0, f"{what}: helm {verb} ends with {code}: {out[-500:]}{said}")
        warnings = [line for line in said.splitlines() if "warn" in line.lower()]
        renders.check(not warnings, f"{what}: helm {verb} warns: {warnings}")
        return out

    def refused(self, what, words, verb, *arguments, **more):
        """Helm's verb, which must be refused in these words."""
        code, _, said = self.helm(verb, *arguments, **more)
        renders.check(code != 0, f"{what}: helm {verb} was not refused")
        renders.check(words in said, f"{what}: helm {verb} is refused, and not with {words!r}:\n{said}")

    def path(self, kind, group="apps/v1", name=None):
        """Where an object is, or a list of them."""
        start = "/api/v1" if group == "v1" else f"/apis/{group}"
        return f"{start}/namespaces/{self.where}/{kind}" + (f"/{name}" if name else "")

    def deployment(self):
        """The nodes' Deployment."""
        return self.cluster.get(self.path("deployments", name=self.full))

    @property
    def own_pods(self):
        """The list of the nodes' pods."""
        return f"{self.path('pods', 'v1')}?labelSelector={NODES},app.kubernetes.io/instance={self.name}"

    def pods(self):
        """Those that are not about to go."""
        return [pod for pod in self.cluster.get(self.own_pods)["items"] if not pod["metadata"].get("deletionTimestamp")]

    def settled(self, replicas, seconds=60):
        """Waits until there are so many pods, all of them ready and of the newest kind; gives them."""

        def all_there():
            there = self.deployment()
            if not there:
                return False
            status = there.get("status", {})
            told = status.get("observedGeneration") == there["metadata"]["generation"]
            told = told and status.get("updatedReplicas") == status.get("availableReplicas") == replicas
            pods = self.pods()
            return told and len(pods) == replicas and all(map(ready, pods)) and pods

        return eventually(f"{self.full} has {replicas} pods that are ready", all_there, seconds)

    @contextlib.contextmanager
    def counted(self):
        """Counts its pods as long as the block goes on."""
        count = Count()
        with self.cluster.watching(self.own_pods, count.seen):
            count.begin()
            yield count

    def manifest(self):
        """What Helm keeps of it as applied."""
        return renders.parsed(program(self.cluster, "helm", "get", "manifest", self.name, "--namespace", self.where)[1])


def uids(pods):
    """Which pods they are."""
    return {pod["metadata"]["uid"] for pod in pods}


def values(name):
    """The arguments for an example."""
    return ["--values", Path(renders.DEPLOY, "examples", f"{name}.yaml")]


def condition(item, kind):
    """One condition of an object as (status, reason)."""
    found = [c for c in (item or {}).get("status", {}).get("conditions", []) if c["type"] == kind]
    return (found[0]["status"], found[0].get("reason")) if found else (None, None)

