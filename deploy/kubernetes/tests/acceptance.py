"""What a real API server says to the chart: the examples and what they need, releases beside each other, and mistakes."""

import re

import yaml

import broken
import check as renders
import control_plane
from checks import check, eventually
from lifecycle import QUICK, check_gone
from release import Release, contents, namespace, program, uids, values

CRDS = (control_plane.KUBERNETES / "crds").resolve()


def accepted(cluster, text, where, user="operator"):
    """What the API server says to objects and does not keep; nothing if it takes them, and all of each."""
    path = cluster.folder / "objects.yaml"
    path.write_text(text)
    asked = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--namespace", where, "--filename", path]
    code, _, said = program(cluster, "kubectl", *asked, user=user)
    return said if code or "warning" in said.lower() else ""


def check_without_definitions(cluster):
    """That a cluster that has only Kubernetes' own kinds takes the chart, and says whose kinds it lacks for the rest of it."""
    namespace(cluster, "plain", "gateway")
    before = contents(cluster, "plain")
    release = Release(cluster, "plain")
    wanted = {
        "monitoring.podMonitor=true": "monitoring.podMonitor: this cluster has no PodMonitor",
        "monitoring.rules=true": "monitoring.rules: this cluster has no PrometheusRule",
        "autoscaling.enabled=true,autoscaling.type=keda": "autoscaling.type: this cluster has no ScaledObject",
        "httpRoute.enabled=true,httpRoute.parentRefs[0].name=public": "httpRoute.enabled: this cluster has no HTTPRoute",
    }
    for setting, words in wanted.items():
        release.refused("a kind that is not there", words, "install", *values("defaults"), "--set", setting)
    check(contents(cluster, "plain") == before, "what was refused left something")
    release.done("without definitions", "install", *values("defaults"), *QUICK, "--wait")
    there = contents(cluster, "plain")
    check("networkpolicy.networking.k8s.io/gateway" in there, "there is no NetworkPolicy")
    release.refused("a kind that is not there", "has no PodMonitor", "upgrade", *values("defaults"), "--set", "monitoring.podMonitor=true")
    check(contents(cluster, "plain") == there, "an upgrade that was refused changed something")
    release.done("without definitions", "uninstall", "--wait")
    check_gone(cluster, "plain", before)


def define(cluster):
    """Installs the kinds that are not Kubernetes' own."""
    code, _, said = program(cluster, "kubectl", "apply", "--server-side", "--filename", CRDS)
    check(code == 0, f"kinds of other projects: {said}")
    everything = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

    def known():
        items = cluster.get(everything)["items"]
        return len(items) == len(list(CRDS.iterdir())) and all(("Established", "True") in states(item) for item in items)

    eventually("all of them are known", known)


def states(item):
    """An object's conditions."""
    return {(c["type"], c["status"]) for c in item.get("status", {}).get("conditions", [])}


def check_examples(cluster):
    """That each example is taken, runs, has all that it renders, and leaves nothing."""
    cluster.make("/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "realtime"}, "value": 1000})
    for name, releases in renders.SETS.items():
        where = f"example-{name}"
        namespace(cluster, where, *secrets([example for _, example in releases]))
        before = contents(cluster, where)
        running = [(Release(cluster, where, release), example) for release, example in releases]
        for release, example in running:
            _, text, _ = renders.render(release.name, *values(example)[1:], "--namespace", where, "--skip-tests")
            said = accepted(cluster, text, where)
            check(not said, f"{name}: {said}")
            release.done(name, "install", *values(example), *QUICK, "--wait")
        for release, example in running:
            there = contents(cluster, where)
            for item in release.manifest():
                kind, known = item["kind"].lower(), item["metadata"]["name"]
                check(any(re.fullmatch(rf"{kind}(\.\S+)?/{known}", one) for one in there), f"{name}: {kind} {known} is not there")
        if name == "gateway-api-keda":
            text = (renders.DEPLOY / "examples/envoy-gateway.yaml").read_text()
            said = accepted(cluster, text, where)
            check(not said, f"envoy-gateway.yaml: {said}")
        if len(running) == 2:
            check_apart(cluster, where, *(release for release, _ in running))
        for release, _ in running:
            release.done(name, "uninstall", "--wait")
        check_gone(cluster, where, before)


def secrets(examples):
    """The Secrets that examples say there are."""
    given = [yaml.safe_load((renders.DEPLOY / f"examples/{example}.yaml").read_text()) for example in examples]
    named = [value.get("existingSecret") for value in given] + [value.get("haproxy", {}).get("cookieKeySecret") for value in given]
    return [name for name in named if name]


def check_apart(cluster, where, one, other):
    """That what is done to one of two releases is not felt by the other, in one namespace and in two."""
    kept = uids(other.settled(2))
    one.done("one of two", "upgrade", *values("defaults"), *QUICK, "--set", "replicas=4", "--wait")
    one.settled(4)
    services = cluster.get(one.path("endpointslices", "discovery.k8s.io/v1"))["items"]
    led = {}
    for item in services:
        to = {address for end in item["endpoints"] for address in end["addresses"]}
        led.setdefault(item["metadata"]["labels"]["app.kubernetes.io/instance"], set()).update(to)
    for release in (one, other):
        own = {pod["status"]["podIP"] for pod in release.pods()}
        check(led[release.name] == own, f"Services of {release.name} lead to {led[release.name]}, not to {own}")
    for release, count in ((one, 4), (other, 2)):
        budget = cluster.get(release.path("poddisruptionbudgets", "policy/v1", release.full))["status"]
        check(budget["expectedPods"] == count, f"the budget of {release.name} counts {budget['expectedPods']} pods, not {count}")
    elsewhere = f"{where}-beside"
    namespace(cluster, elsewhere, "gateway")
    third = Release(cluster, elsewhere)
    third.done("the same name elsewhere", "install", *values("defaults"), *QUICK, "--wait")
    third.done("the same name elsewhere", "uninstall", "--wait")
    check(uids(other.settled(2)) == kept, "a release lost pods for what was done to another")


def check_kustomize(cluster):
    """That the example with kustomize runs, on the machines that are kept for it, and goes."""
    overlay = renders.DEPLOY / "kustomize/overlay"
    # It is of the namespace that README has one make.
    before = contents(cluster, "realtime")
    code, _, said = program(cluster, "kubectl", "apply", "--server-side", "--kustomize", overlay)
    check(code == 0 and "warning" not in said.lower(), f"kubectl apply --kustomize: {said}")
    pods = Release(cluster, "realtime").settled(5)
    check({pod["spec"]["nodeName"] for pod in pods} == {"m-pool"}, "pods are not on the machines that are kept for them")
    code, _, said = program(cluster, "kubectl", "delete", "--kustomize", overlay, "--wait=true")
    check(code == 0, f"kubectl delete --kustomize: {said}")
    check_gone(cluster, "realtime", before)


def check_mistakes(cluster):
    """That what the chart lets pass is refused by the API server, in words by which one finds the value."""
    namespace(cluster, "mistaken")
    cluster.make("/api/v1/namespaces/mistaken/serviceaccounts", {"metadata": {"name": "gateway"}})
    base = yaml.safe_load((renders.DEPLOY / "examples/defaults.yaml").read_text())
    for what, change, words in broken.BY_SERVER:
        path = cluster.folder / "broken.yaml"
        path.write_text(yaml.safe_dump(broken.merged(base, change)))
        code, text, said = renders.render("gateway", path, "--namespace", "mistaken", "--skip-tests")
        check(code == 0, f"{what}: the chart itself refuses it, so it belongs among its own:\n{said}")
        # Pods are made later, by a controller that can only note it: so they are asked for at once.
        pods = [pod for item in renders.parsed(text) if item["kind"] == "Deployment" for pod in [pod_of(item)]]
        said = accepted(cluster, "---\n".join([text, *map(yaml.safe_dump, pods)]), "mistaken")
        check(words in said, f"{what}: the API server does not say {words!r}:\n{said}")


def pod_of(item):
    """The pod that a Deployment would make."""
    template = item["spec"]["template"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"] | {"name": "would-be"}, "spec": template["spec"]}


def check_refused(cluster):
    """That helm says what the server says, and that what is half there can be taken out, or put right."""
    namespace(cluster, "refused", "gateway")
    before = contents(cluster, "refused")
    release = Release(cluster, "refused")
    for what, change, words in broken.INSTALLED:
        path = cluster.folder / "broken.yaml"
        path.write_text(yaml.safe_dump(broken.merged(yaml.safe_load((renders.DEPLOY / "examples/defaults.yaml").read_text()), change)))
        release.refused(what, words, "install", "--values", path)
        release.done(what, "uninstall", "--wait", "--ignore-not-found")
        check_gone(cluster, "refused", before)
    release.refused("a mistake", words, "install", "--values", path)
    release.done("put right", "upgrade", *values("defaults"), *QUICK, "--install", "--wait")
    release.settled(3)
    release.done("put right", "uninstall", "--wait")
    check_gone(cluster, "refused", before)
