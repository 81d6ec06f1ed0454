"""Releases as they live in a real cluster: installed, upgraded, rolled back, scaled, evicted, uninstalled."""

import contextlib
import re
import shlex
import shutil

import check as renders
import control_plane
import metrics_api
from checks import check, eventually
from release import Release, condition, contents, namespace, program, ready, uids, values

# Pods count as there after a second: what the chart has by default is seen where it is installed as README says.
QUICK = ["--set", "minReadySeconds=1"]


def readme_commands(heading):
    """What README.md has one type under a heading."""
    text = (renders.DEPLOY / "README.md").read_text()
    return re.search(r"```sh\n(.*?)```", text[text.index(f"\n## {heading}\n") :], flags=re.DOTALL)[1]


def check_install(cluster):
    """That what README says installs it: all of its objects, pods on all zones; that the notes help; that nothing is left of it."""
    code, out, said = program(cluster, "/bin/bash", "-e", "-c", readme_commands("Install"), cwd=renders.ROOT)
    check(code == 0 and "warn" not in said.lower(), f"README's way to install it ends with {code}: {out}{said}")
    release = Release(cluster, "realtime")
    pods = release.settled(3)
    check(re.search(r"Phase: +Succeeded", out), f"helm test did not succeed: {out[-600:]}")
    check({pod["spec"]["nodeName"] for pod in pods} == {"m-1", "m-2", "m-3"}, "three pods are not on three machines")
    there = contents(cluster, "realtime")
    for item in release.manifest():
        kind, name = item["kind"].lower(), item["metadata"]["name"]
        check(any(re.fullmatch(rf"{kind}(\.\S+)?/{name}", one) for one in there), f"{kind} {name} is not there")
    slices = {}
    for item in cluster.get(release.path("endpointslices", "discovery.k8s.io/v1"))["items"]:
        service = item["metadata"]["labels"]["kubernetes.io/service-name"]
        slices[service] = {(address, port["port"]) for end in item["endpoints"] for address in end["addresses"] for port in item["ports"]}
    wanted = {(pod["status"]["podIP"], 3000) for pod in pods}
    check(slices == {"gateway": wanted, "gateway-nodes": wanted}, f"the Services lead to {slices}, not to {wanted}")
    for pod in pods:
        mounted = [volume["name"] for volume in pod["spec"]["volumes"]]
        check(mounted == ["config"], f"{pod['metadata']['name']} was given more than its configuration: {mounted}")
    check_notes(cluster, out.partition("NOTES:")[2])
    before = {one for one in there if one == "secret/gateway"}
    release.done("what README installs", "uninstall", "--wait")
    check_gone(cluster, "realtime", before)


def check_notes(cluster, notes):
    """That what the notes have one type is understood: all of it that needs no kubelet is run."""
    commands = [line.split("#")[0].strip() for line in notes.splitlines() if re.match(r" +(kubectl|helm) ", line)]
    check(len(commands) >= 4, f"the notes have {len(commands)} commands: {notes}")
    for command in commands:
        name, *arguments = shlex.split(command)
        if "logs" in arguments or "port-forward" in arguments:
            # These end at a kubelet; what they name is looked for.
            arguments = ["get", *arguments[:2], next(part for part in arguments if "/" in part)]
        code, _, said = program(cluster, name, *arguments)
        check(code == 0, f"the notes have one type {command!r}, which says: {said}")


def check_gone(cluster, where, before):
    """That a namespace has again what it had, once pods are gone."""
    with contextlib.suppress(TimeoutError):
        eventually("nothing is left", lambda: not contents(cluster, where) - before, 20)
    left = contents(cluster, where)
    check(left == before, f"{where}: left are {left - before}, and missing {before - left}")


def check_upgrade(cluster):
    """That somebody who may do what `admin` may in one namespace installs it, upgrades it without a gap, and rolls it back."""
    namespace(cluster, "upgrade", "gateway")
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
    who = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "deployer"}]
    bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/upgrade/rolebindings"
    cluster.make(bindings, {"metadata": {"name": "deployers"}, "roleRef": role, "subjects": who})
    before = contents(cluster, "upgrade")
    release = Release(cluster, "upgrade", user="deployer")
    given = [*values("defaults"), *QUICK]
    release.done("a deployer", "install", *given, "--wait")
    first = release.settled(3)

    with release.counted() as count:
        release.done("another configuration", "upgrade", *given, "--set", "config.socket.max_age=6h", "--wait")
        second = release.settled(3)
    check(not uids(first) & uids(second), "a change of the configuration did not replace the pods")
    check(count.fewest >= 3 and count.most == 4, f"an upgrade had {count.fewest} pods ready at the least, and {count.most} at the most")

    with release.counted() as count:
        release.done("with a surge", "upgrade", *given, "--set", "updateStrategy.maxSurge=100%", "--set", "drain.timeoutSeconds=61", "--wait")
        third = release.settled(3)
    check(count.fewest >= 3 and count.most == 6, f"a surge of 100 % had {count.most} pods at the most, {count.fewest} ready at the least")

    with newer_chart(cluster) as chart:
        again = [*given, "--set", "updateStrategy.maxSurge=100%", "--set", "drain.timeoutSeconds=61"]
        release.done("another chart", "upgrade", *again, "--wait", chart=chart)
    check(uids(release.settled(3)) == uids(third), "a new chart with the same program and values replaced the pods")

    with release.counted() as count:
        bad = [*given, "--set", "image.tag=missing", "--wait", "--timeout", "4s"]
        release.refused("an image that is nowhere", "gateway", "upgrade", *bad)
        check(count.fewest >= 3, f"a version that cannot start left {count.fewest} pods ready")
        stuck = [pod for pod in release.pods() if not ready(pod)]
        check(len(stuck) == 1, f"a version that cannot start has {len(stuck)} pods beside the old ones")
        release.done("after that", "rollback", "4", "--wait")
        kept = release.settled(3)
        check(uids(kept) == uids(third), "rolling back a version that never started replaced pods that run")
        release.done("two versions back", "rollback", "2", "--wait")
        back = release.settled(3)
    check(count.fewest >= 3, f"rolling back had {count.fewest} pods ready")
    check({image(pod) for pod in back} == {image(first[0])}, "rolling back did not bring the image back")
    config = cluster.get(release.path("configmaps", "v1", "gateway-config"))["data"]["gateway.toml"]
    check('max_age = "6h"' in config, "rolling back did not bring the configuration back")

    # And what undoes itself.
    release.refused("an image that is nowhere", "gateway", "upgrade", *bad, "--rollback-on-failure")
    check(uids(release.settled(3)) == uids(back), "--rollback-on-failure did not leave the pods as they were")
    check(image(release.deployment()) == image(first[0]), "--rollback-on-failure left the image that is nowhere")
    release.done("a deployer", "uninstall", "--wait")
    check_gone(cluster, "upgrade", before)


def image(item):
    """Of the gateway's container, in a pod or a Deployment."""
    return item["spec"].get("template", item)["spec"]["containers"][0]["image"]


@contextlib.contextmanager
def newer_chart(cluster):
    """The same chart as the next version, packaged."""
    folder = cluster.folder / "packaged"
    folder.mkdir()
    program(cluster, "helm", "package", renders.CHART, "--version", "99.0.0", "--destination", folder)
    yield folder / "gateway-99.0.0.tgz"
    shutil.rmtree(folder)


def check_test(cluster):
    """That `helm test` fails where its pod does, and that what it leaves for looking at is taken by the next one."""
    namespace(cluster, "tested", "gateway")
    before = contents(cluster, "tested")
    release = Release(cluster, "tested")
    release.done("a test", "install", *values("defaults"), "--set", "test.image=registry.example/curl:fails", *QUICK, "--wait")
    release.refused("a handshake that fails", "gateway-test", "test")
    check("pod/gateway-test" in contents(cluster, "tested"), "a test that failed left nothing to look at")
    release.done("a test", "upgrade", *values("defaults"), *QUICK)
    out = release.done("a handshake", "test")
    check(re.search(r"Phase: +Succeeded", out), f"the test did not succeed: {out}")
    check("pod/gateway-test" not in contents(cluster, "tested"), "a test that succeeded left its pod")
    release.done("a test", "uninstall", "--wait")
    check_gone(cluster, "tested", before)


def evict(cluster, pod):
    """Asks for a pod to go; gives the answer's status and words."""
    where, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": where}}
    status, answer = cluster.ask(f"/api/v1/namespaces/{where}/pods/{name}/eviction", body)
    return status, answer.get("message", "")


def check_eviction(cluster):
    """That one node goes at a time, that draining a machine waits for that, and that a node that is not ready keeps nothing up."""
    namespace(cluster, "evicted", "gateway")
    release = Release(cluster, "evicted")
    # Where pods are not spread, two of them are on one machine.
    release.done("evictions", "install", *values("defaults"), *QUICK, "--set", "replicas=4", "--wait")
    pods = release.settled(4)
    budget = release.path("poddisruptionbudgets", "policy/v1", "gateway")
    eventually("the budget allows one", lambda: cluster.get(budget)["status"].get("disruptionsAllowed") == 1)
    with release.counted() as count:
        status, said = evict(cluster, pods[0])
        check(status == 201, f"the first pod was not evicted: {status} {said}")
        status, said = evict(cluster, pods[1])
        check(status == 429 and "disruption budget" in said, f"the second pod was not kept by the budget: {status} {said}")
        release.settled(4)
        full = max(control_plane.MACHINES, key=lambda each: sum(pod["spec"]["nodeName"] == each[0] for pod in release.pods()))[0]
        here = [pod for pod in release.pods() if pod["spec"]["nodeName"] == full]
        check(len(here) == 2, f"{len(here)} of four pods are on {full}")
        code, _, said = program(cluster, "kubectl", "drain", full, "--ignore-daemonsets", "--timeout=60s")
        check(code == 0, f"{full} was not drained: {said}")
        after = release.settled(4)
    check(count.fewest >= 3, f"evictions left {count.fewest} of four pods")
    check(all(pod["spec"]["nodeName"] != full for pod in after), f"there are pods on {full}, which was drained")
    program(cluster, "kubectl", "uncordon", full)

    code, _, _ = release.helm("upgrade", *values("defaults"), *QUICK, "--set", "replicas=4,image.tag=missing,updateStrategy.maxUnavailable=100%")
    check(code == 0, "a version that cannot start was not taken")
    stuck = eventually("no pod is ready", lambda: len(release.pods()) >= 4 and not any(map(ready, release.pods())) and release.pods())
    for pod in stuck[:2]:
        eventually("it is said not to be ready", lambda: condition(cluster.get(f"{release.path('pods', 'v1')}/{pod['metadata']['name']}"), "Ready")[0] == "False")
        status, said = evict(cluster, pod)
        check(status == 201, f"a pod that is not ready keeps its machine up: {status} {said}")
    release.done("evictions", "uninstall", "--wait")


def replicas(release):
    """How many are wanted."""
    return release.deployment()["spec"]["replicas"]


@contextlib.contextmanager
def never_fewer(release, what, least):
    """That a Deployment wants no fewer than so many, not for a moment, as long as the block goes on."""
    fewest, latest = [], []

    def seen(_, item):
        if item["metadata"]["name"] == release.full:
            fewest.append(item["spec"]["replicas"])
            latest.append(item["metadata"]["resourceVersion"])

    with release.cluster.watching(release.path("deployments"), seen):
        yield
        now = release.deployment()["metadata"]["resourceVersion"]
        eventually("the watch has come so far", lambda: int(latest[-1]) >= int(now))
    check(min(fewest) >= least, f"{what}: {min(fewest)} nodes were wanted for a moment, where {least} were there")


def check_autoscaling(cluster):
    """That an autoscaler is switched on and off in a release that runs, goes by connections, and that nobody loses their node for it."""
    namespace(cluster, "scaled", "gateway")
    release = Release(cluster, "scaled")
    given = [*values("defaults"), *QUICK, "--set", "updateStrategy.maxSurge=100%"]
    on = [*given, "--set", "autoscaling.enabled=true"]
    autoscaler = release.path("horizontalpodautoscalers", "autoscaling/v2", "gateway")
    release.done("before an autoscaler", "install", *given, "--wait")
    # Somebody knew better than the values.
    program(cluster, "kubectl", "scale", "deployment/gateway", "--replicas=5", "--namespace", "scaled")
    release.settled(5)
    with never_fewer(release, "an autoscaler without a metric", 5):
        release.done("an autoscaler", "upgrade", *on)
        eventually("it has looked", lambda: condition(cluster.get(autoscaler), "ScalingActive") == ("False", "FailedGetPodsMetric"))
    with never_fewer(release, "an autoscaler", 5), metrics_api.serving(cluster) as metrics:
        metrics.connections = 6000
        eventually("it goes by connections", lambda: condition(cluster.get(autoscaler), "ScalingActive")[0] == "True")
        release.done("another configuration", "upgrade", *on, "--set", "config.socket.max_age=6h", "--wait")
        check(replicas(release) == 5, f"with half of the load there are {replicas(release)} nodes after a moment")
        metrics.connections = 18000
        more = eventually("more nodes come", lambda: replicas(release) > 5 and replicas(release))
        metrics.connections = 12000
        # By a half in a minute, as the chart says.
        check(more in (7, 8), f"of five nodes the autoscaler made {more}")
    with never_fewer(release, "an autoscaler whose metric is away", more):
        release.settled(more)
        release.done("one more configuration", "upgrade", *on, "--set", "config.socket.max_age=7h", "--wait")
        # To when there were five.
        release.done("back from that", "rollback", "3", "--wait")
        release.settled(more)
        release.refused("fewer nodes at once", f"Set replicas to {more}", "upgrade", *given)
        release.done("no autoscaler", "upgrade", *given, "--set", f"replicas={more}", "--wait")
        release.settled(more)
    check(cluster.get(autoscaler) is None, "the autoscaler is still there")
    # And then as many as one likes, once the server is told whose number it is.
    fewer = [*given, "--set", "replicas=4", "--wait"]
    release.refused("a number that was the autoscaler's", ".spec.replicas", "upgrade", *fewer)
    release.done("fewer nodes", "upgrade", *fewer, "--force-conflicts")
    release.done("fewer still", "upgrade", *given, "--set", "replicas=3", "--wait")
    release.settled(3)
    release.done("an autoscaler", "uninstall", "--wait")


def check_client_side(cluster):
    """The same where Helm applies on its own side, as it did before version 4: what it leaves out it takes away."""
    namespace(cluster, "client-side", "gateway")
    release = Release(cluster, "client-side")
    given = [*values("defaults"), *QUICK, "--set", "updateStrategy.maxSurge=100%", "--server-side=false"]
    on = [*given, "--set", "autoscaling.enabled=true"]
    release.done("before an autoscaler", "install", *given, "--wait")
    program(cluster, "kubectl", "scale", "deployment/gateway", "--replicas=5", "--namespace", "client-side")
    release.settled(5)
    with never_fewer(release, "with Helm's own way to apply", 5):
        release.done("an autoscaler", "upgrade", *on)
        release.done("another configuration", "upgrade", *on, "--set", "config.socket.max_age=6h", "--wait")
        release.settled(5)
        release.refused("fewer nodes at once", "Set replicas to 5", "upgrade", *given)
        release.done("no autoscaler", "upgrade", *given, "--set", "replicas=5", "--wait")
    release.done("fewer nodes", "upgrade", *given, "--set", "replicas=4", "--wait")
    release.settled(4)
    release.done("an autoscaler", "uninstall", "--wait")
