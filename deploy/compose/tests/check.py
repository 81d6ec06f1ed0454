#!/usr/bin/env python3
"""Starts the services of compose.yaml, as they stand there, as processes in namespaces, and does what README.md says can be done.

    check.py                        in `deploy/tests/sandbox`: smoke test, health, scaling, a crash, a rolling restart under 40 clients
    check.py --clients 500          the same with more of them, who also see all nodes replaced

Needs redis-server, haproxy, prometheus, wget, node, and GATEWAY_BIN. Prints what it saw and, as the last line, "N passed, N failed".
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ci"))

import checks
import compose
import images
from checks import Failed, check, eventually
from compose import Refused
from engine import Engine

HERE = Path(__file__).resolve().parent
COMPOSE = HERE.parent
ROOT = HERE.parents[2]


def get(url, patience=5):
    """What a URL answers."""
    with urllib.request.urlopen(url, timeout=patience) as response:
        return response.read().decode()


def settings():
    """The variables of .env.example, which must be the defaults of the file itself."""
    lines = (COMPOSE / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def reachable(engine, place, address, port):
    """Whether a container's network leads to an address."""
    probe = place.socket(socket.AF_INET, socket.SOCK_STREAM)
    probe.settimeout(1)
    try:
        probe.connect((address, port))
        return True
    except OSError:
        return False
    finally:
        probe.close()


def servers():
    """The nodes that HAProxy has up, by its statistics on the published port."""
    lines = get("http://127.0.0.1:8404/;csv").splitlines()
    names = lines[0].lstrip("# ").split(",")
    rows = [dict(zip(names, line.split(","))) for line in lines[1:]]
    return [row for row in rows if row["pxname"] == "gateway" and row["svname"].startswith("gw") and row["status"].startswith("UP")]


def targets(job):
    """What Prometheus scrapes with success for a job."""
    active = json.loads(get("http://127.0.0.1:9090/api/v1/targets?state=active"))["data"]["activeTargets"]
    return [target for target in active if target["labels"]["job"] == job and target["health"] == "up"]


class Crowd:
    """Clients who are there while something happens."""

    def __init__(self, url, clients, rooms, rate):
        line = ["node", HERE / "crowd.mjs", url, clients, rooms, rate]
        self.process = subprocess.Popen(list(map(str, line)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise Failed("the crowd did not get in")

    def end(self):
        """What they heard."""
        findings, _ = self.process.communicate(timeout=180)
        if self.process.returncode != 0:
            raise Failed(f"the crowd ended with {self.process.returncode}")
        return json.loads(findings)


def what_stands_there(variables):
    """What the files say before anything runs."""
    plain = compose.read(COMPOSE / "compose.yaml", {"SECRETS_DIR": variables["SECRETS_DIR"]})
    spoken = compose.read(COMPOSE / "compose.yaml", {**settings(), "SECRETS_DIR": variables["SECRETS_DIR"]})
    check(plain == spoken, ".env.example has the defaults of compose.yaml")
    for name, service in plain.services.items():
        check(service.name == "k6" or service.healthcheck or images.of(service, {"gateway": "", "k6": ""}).healthcheck,
              f"{name} has a health check")
    secrets = Path(variables["SECRETS_DIR"])
    check(oct(secrets.stat().st_mode)[-3:] == "700", "nobody else gets into the folder of the secrets")
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([COMPOSE / "secrets.sh", secrets], check=True)
    check(before == {path.name: path.read_text() for path in secrets.iterdir()}, "secrets that are there stay as they are")
    shown = (COMPOSE / "compose.yaml").read_text()
    check(not any(text.strip() and text.strip() in shown for text in before.values()), "no secret stands in the file")
    missing = {**variables, "SECRETS_DIR": "/nowhere"}
    try:
        compose.read(COMPOSE / "compose.yaml", missing)
        check(False, "secrets that nobody made are missed")
    except Refused:
        check(True, "")


def all_is_well(engine):
    """Every service is up, in its own networks, and does what it is there for."""
    for name, containers in engine.containers.items():
        for container in containers:
            check(container.health == "healthy" and container.starts == 1, f"{container.name} is healthy, and was at once")
    gateway = engine.containers["gateway"][0]
    redis = engine.containers["redis"][0]
    haproxy = engine.containers["haproxy"][0]
    environment = Path(f"/proc/{gateway.pid}/environ").read_text().split("\0")
    check("GATEWAY_LOG__ROOM_EVENTS=4000" in environment, "what .env says of the gateway reaches the nodes, also what compose.yaml does not name")
    check("room_events = 4000" in gateway.execute(["/gateway", "check"])[1], "and counts there")
    admin = f"http://{gateway.place.addresses['nodes']}:9100/metrics"
    check("gateway_connections" in get(admin), "the admin listener answers this machine at the node's address, as docs/runbooks.md says")
    try:
        get(urllib.request.Request(admin, headers={"Host": "gateway:9100"}))
        check(False, "the admin listener answers by the service's name")
    except urllib.error.HTTPError as error:
        check(error.code == 421, f"by the service's name the admin listener answers 421 ({error.code})")
    runbooks = (ROOT / "docs/runbooks.md").read_text()
    for label in (f"compose.project={engine.project.name} ", "compose.network=nodes "):
        check(label in runbooks, f"docs/runbooks.md looks for the nodes where they are, {label}")
    line = Path(f"/proc/{gateway.pid}/status").read_text().splitlines()
    status = dict(entry.split(":\t", 1) for entry in line if ":\t" in entry)
    if engine.real_root:
        check(status["Uid"].split() == ["65532"] * 4, f"the node is not root ({status['Uid']})")
    check(status["NoNewPrivs"] == "1" and int(status["CapBnd"], 16) == 0, "the node cannot get privileges")
    code, said = gateway.execute(["/bin/sh", "-c", "touch /here"])
    check(code != 0 and "Read-only" in said, f"the node's root is read-only ({said.strip()})")
    check(not reachable(engine, haproxy.place, redis.place.addresses["data"], 6379), "HAProxy has no way to Redis")
    prometheus = engine.containers["prometheus"][0]
    check(reachable(engine, prometheus.place, gateway.place.addresses["nodes"], 9100), "Prometheus has a way to the nodes")
    code, said = redis.execute(["redis-cli", "get", "gateway:offset"])
    check("NOPERM" in said, f"Redis shows nothing to who has no password ({said.strip()})")
    code, said = redis.execute(["redis-cli", "config", "get", "dir"])
    check("NOPERM" in said, "nor its configuration")
    for container in engine.containers["gateway"] + [redis, haproxy]:
        shown = Path(f"/proc/{container.pid}/environ").read_bytes() + Path(f"/proc/{container.pid}/cmdline").read_bytes()
        password = Path(os.environ["SECRETS_DIR"], "redis_url").read_text().split(":")[2].split("@")[0]
        check(password.encode() not in shown, f"{container.name} shows no password to who lists processes")
    check(len(servers()) == len(engine.containers["gateway"]), "HAProxy has all nodes")
    for job, count in (("gateway", len(engine.containers["gateway"])), ("haproxy", 1), ("prometheus", 1)):
        eventually(f"Prometheus scrapes {count} of {job}", lambda job=job, count=count: len(targets(job)) == count)
        check(True, "")
    rules = json.loads(get("http://127.0.0.1:9090/api/v1/rules"))["data"]["groups"]
    check(rules and all(rule["health"] != "err" for group in rules for rule in group["rules"]), "Prometheus has the rules")


def smoke(engine, wanted=0, **environment):
    """The smoke test as its service stands there, in its own network."""
    code, said = engine.run("k6", environment=environment)
    check((code == 0) == (wanted == 0), f"k6 ended with {code}:\n{said[-1500:]}")


def scaling(engine):
    """More nodes are found, and fewer are missed by nobody."""
    began = time.monotonic()
    engine.scale("gateway", 5)
    eventually("HAProxy has five nodes", lambda: len(servers()) == 5)
    eventually("Prometheus has five nodes", lambda: len(targets("gateway")) == 5)
    grown = time.monotonic() - began
    codes = engine.scale("gateway", 2)
    check(codes == [0, 0, 0], f"nodes that go have drained ({codes})")
    eventually("HAProxy has two nodes", lambda: len(servers()) == 2)
    eventually("Prometheus has two nodes", lambda: len(targets("gateway")) == 2)
    engine.scale("gateway", 3)
    eventually("HAProxy has three nodes", lambda: len(servers()) == 3)
    print(f"scaled from 3 to 5 nodes in {grown:.1f} s until HAProxy and Prometheus had them, to 2, and to 3 again", flush=True)


def rolling(engine, url, clients, rooms):
    """Every node is stopped and started again, one after the other, and nobody misses anything."""
    crowd = Crowd(url, clients, rooms, 2)
    began = time.monotonic()
    for container in list(engine.containers["gateway"]):
        code = container.stop()
        check(code == 0, f"{container.name} has drained ({code})")
        container.start()
        engine.wait("gateway")
    took = time.monotonic() - began
    heard(crowd.end(), f"{len(engine.containers['gateway'])} nodes restarted one after the other in {took:.1f} s")


def replacing(engine, url, clients, rooms):
    """As many new nodes come, and then the old ones go: what a new image does."""
    crowd = Crowd(url, clients, rooms, 2)
    began = time.monotonic()
    old = list(engine.containers["gateway"])
    engine.scale("gateway", 2 * len(old))
    codes = [container.remove() for container in old]
    check(codes == [0] * len(old), f"the old nodes have drained ({codes})")
    took = time.monotonic() - began
    heard(crowd.end(), f"{len(old)} nodes replaced in {took:.1f} s")


def heard(found, what):
    """Counts what a crowd heard."""
    print(f"{what}: {json.dumps(found)}", flush=True)
    check(found["lost"] == 0 and found["doubled"] == 0 and found["reordered"] == 0, f"{what}: something was lost")
    check(found["expected"] > found["clients"] and found["reconnects"] > 0, f"{what}: nobody noticed it at all")
    check(found["recovered"] == found["reconnects"], f"{what}: a session was not recovered")


def a_crash(engine):
    """A node that dies is started again, and a Redis that dies has its data."""
    node, redis = engine.containers["gateway"][0], engine.containers["redis"][0]
    for container in (node, redis):
        container.signal(signal.SIGKILL)
        eventually(f"{container.name} was started again", lambda container=container: container.starts > 1 and container.health == "healthy")
        check(True, "")
    eventually("all nodes are in use again", lambda: len(servers()) == 3)


def with_tokens(engine):
    """A secret in its file, and who has no token stays out."""
    Path(os.environ["SECRETS_DIR"], "auth_secret").write_text("a secret of this test, as long as it should be\n")
    for container in engine.containers["gateway"]:
        container.stop()
        container.start()
    engine.wait("gateway")
    eventually("HAProxy has the nodes again", lambda: len(servers()) == len(engine.containers["gateway"]))
    code, token = engine.containers["gateway"][0].execute(["/gateway", "token", "--user", "smoke"])
    check(code == 0, f"a token in the container: {token}")
    smoke(engine, TOKEN=token.strip())
    smoke(engine, wanted=1)


def main():
    """All of it."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--clients", type=int, default=40)
    arguments = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gateway-compose."))
    os.environ["SECRETS_DIR"] = str(folder / "secrets")
    # .env of a crowd that has one address, and of a node with a setting that compose.yaml does not name.
    variables = {
        "SECRETS_DIR": str(folder / "secrets"),
        "GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS": "0",
        "GATEWAY_LOG__ROOM_EVENTS": "4000",
    }
    engine = None
    # The folder would keep others from reading what belongs to them.
    folder.chmod(0o711)
    try:
        subprocess.run([COMPOSE / "secrets.sh", folder / "secrets"], check=True)
        what_stands_there(variables)
        project = compose.read(COMPOSE / "compose.yaml", variables, dotenv=variables)
        if not shutil.which("grafana"):
            images.OTHERS["grafana/grafana"].files = {"/run.sh": HERE / "grafana-stand-in"}
            print("NOT TESTED: Grafana itself, which is not installed; its service's settings are", flush=True)
        binary = Path(os.environ.get("GATEWAY_BIN", ROOT / "target/debug/gateway")).resolve()
        engine = Engine(project, folder, {"gateway": binary, "k6": ROOT / ".tools/bin/k6"})
        began = time.monotonic()
        engine.up(["observability"])
        print(f"up and healthy in {time.monotonic() - began:.1f} s: {', '.join(engine.containers)}", flush=True)
        all_is_well(engine)
        smoke(engine)
        check(get("http://127.0.0.1:8080/socket.io/?EIO=4&transport=polling").startswith("0{"), "the published port leads to the nodes")
        scaling(engine)
        url = f"http://{engine.containers['haproxy'][0].place.addresses['edge']}:8080"
        rooms = max(2, arguments.clients // 20)
        rolling(engine, url, arguments.clients, rooms)
        if arguments.clients > 100:
            replacing(engine, url, arguments.clients, rooms)
        a_crash(engine)
        with_tokens(engine)
        codes = engine.down()
        check(set(codes.values()) == {0}, f"everything ends well when it is told to ({codes})")
        print(f"all of it in {time.monotonic() - began:.0f} s", flush=True)
    except (Failed, Refused, urllib.error.URLError) as error:
        check(False, str(error))
    finally:
        if engine:
            engine.down()
        if checks.failed and engine:
            print(f"logs are in {folder}")
        else:
            shutil.rmtree(folder)
    checks.close()


if __name__ == "__main__":
    main()
