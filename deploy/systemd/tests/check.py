#!/usr/bin/env python3
"""Runs gateway.service under systemd itself, in a sandbox where it is the first process, and does what README.md says can be done.

Needs root, systemd, redis-server, k6 (.tools/bin), and GATEWAY_BIN. Prints, as the last line, "N passed, N failed".
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ci"))

import checks
from checks import Failed, check, eventually

HERE = Path(__file__).resolve().parent
UNITS = HERE.parent
ROOT = HERE.parents[2]
BINARY = Path(os.environ.get("GATEWAY_BIN", ROOT / "target/debug/gateway")).resolve()
# Exposure in tenths, as systemd-analyze counts it: 100 is a service without any of this, below 20 is "OK" with a smile.
EXPOSURE = 20

def run(*line, **more):
    """How a program ended and what it said."""
    ended = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=60, **more)
    return ended.returncode, ended.stdout + ended.stderr


def offline():
    """What can be told from the files."""
    code, said = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", UNITS / "gateway.service")
    check(code == 0, f"the unit is hardened: {said[-300:]}")
    print(said.strip().splitlines()[-1], flush=True)
    unit = (UNITS / "gateway.service").read_text()
    grace = int(re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)[1])
    ours = tomllib.loads((ROOT / "deploy/deb/gateway.toml").read_text())
    check(ours.get("data_dir") == "/var/lib/gateway" and "\nStateDirectory=gateway\n" in unit, "the package's configuration names the unit's folder")
    drain = tomllib.loads((ROOT / "gateway/gateway.default.toml").read_text())["drain"]
    needed = sum(int(drain[key].removesuffix("s")) for key in ("announce", "timeout"))
    check(grace > needed, f"TimeoutStopSec={grace}s is longer than a drain of {needed} s")
    for line in (UNITS / "90-gateway.conf").read_text().splitlines():
        if line and not line.startswith("#"):
            key, value = (part.strip() for part in line.split("=", 1))
            path = Path("/proc/sys", key.replace(".", "/"))
            # Of a network of one's own there is less than of the machine; what there is must take the value.
            code, said = run(ROOT / "deploy/tests/sandbox", "sh", "-c", '[ ! -e "$1" ] || printf %s "$2" >"$1"', "sh", path, value)
            check(path.exists() and (code == 0 or key.startswith("fs.")), f"the kernel knows {key} = {value}: {said}")


class Machine:
    """A sandbox whose first process is systemd."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-systemd."))
        self.folder.chmod(0o755)
        self.log = self.folder / "log"
        units = self.folder / "units"
        (self.folder / "etc" / "secrets").mkdir(parents=True)
        (units / "gateway.service.d").mkdir(parents=True)
        shutil.copy(UNITS / "gateway.service", units)
        # Nobody here keeps a journal. Waiting for the network would be waiting for units that are not here.
        (units / "gateway.service.d" / "log.conf").write_text(f"[Service]\nStandardOutput=append:{self.log}\nStandardError=inherit\n")
        for name in ("default", "basic", "sysinit", "shutdown", "network-online", "multi-user"):
            (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
        self.configure("")
        console = (self.folder / "console").open("wb")
        self.process = subprocess.Popen(
            [ROOT / "deploy/tests/sandbox", HERE / "boot", BINARY, self.folder],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
        )
        self.pid = None
        try:
            eventually("systemd is up", self._is_up)
        except BaseException:
            self.end()
            raise

    def _is_up(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = next(iter(children.read_text().split() if children.exists() else []), None)
        return self.pid and self.do("systemctl", "is-active", "default.target")[0] == 0

    def do(self, *line, **more):
        """Runs a program in there."""
        return run("nsenter", f"--target={self.pid}", "--all", "--", *line, **more)

    def systemctl(self, *words):
        """What systemctl says."""
        return self.do("systemctl", "--no-pager", *words)

    def show(self, name):
        """A property of the service."""
        return self.systemctl("show", "gateway", f"--property={name}", "--value")[1].strip()

    def status(self, path="/readyz", port=9100):
        """The status of what the service answers."""
        return self.do("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}{path}")[1]

    def configure(self, text):
        """Writes the configuration."""
        (self.folder / "etc" / "gateway.toml").write_text(text)

    def main(self):
        """The service's process as seen from here."""
        inside = self.show("MainPID")
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                found = re.search(r"^NSpid:\t(.*)$", path.read_text(), re.MULTILINE)
                if found and found[1].split()[-1] == inside and path.with_name("comm").read_text() == "gateway\n":
                    return path.parent
            except (FileNotFoundError, ProcessLookupError):
                pass
        return None

    def end(self):
        """Nothing of it stays."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        below = Path("/run/gateway-test-groups")
        below.mkdir(exist_ok=True)
        # Groups of processes outlive the processes, and have none in them a moment later.
        group = below / f"gateway-test-{self.folder.name}"
        remove = f"mount -t cgroup2 cgroup2 {below} && find {group} -depth -type d -exec rmdir {{}} + && [ ! -e {group} ]"
        eventually("nothing is left of the sandbox", lambda: run("unshare", "--mount", "sh", "-c", remove)[0] == 0)
        below.rmdir()


def as_it_stands(machine):
    """It starts, is ready, serves clients, and may do nothing else."""
    code, said = machine.do("systemd-analyze", "verify", machine.folder / "units/gateway.service")
    check(code == 0 and not said.strip(), f"systemd takes every line of the unit: {said}")
    code, said = machine.systemctl("start", "gateway")
    check(code == 0, f"it starts: {said}")
    check(eventually("it is ready", lambda: machine.status() == "200"), "it is ready")
    process = machine.main()
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    check("0" not in status["Uid"].split(), "it is not root")
    check(status["NoNewPrivs"] == "1" and int(status["CapBnd"], 16) == 0 and status["Seccomp"] == "2", "it may become nothing else")
    soft, hard = re.search(r"^Max open files +(\d+) +(\d+)", (process / "limits").read_text(), re.MULTILINE).groups()
    check(soft == hard, f"it has as many files as it may ({soft} of {hard})")
    state = (process / "root/var/lib/gateway").resolve()
    check((process / "root/var/lib/private/gateway/log.sqlite").exists() or any(state.glob("*.sqlite")), f"it keeps its data in {state}")
    k6 = ROOT / ".tools/bin/k6"
    code, said = machine.do(k6, "run", "--quiet", ROOT / "loadtest/k6/smoke.js")
    check(code == 0, f"the smoke test: {said[-1500:]}")
    denied = [line for line in machine.log.read_text().splitlines() if "not permitted" in line or "ermission denied" in line]
    check(not denied, f"nothing that it needs is denied to it: {denied[:3]}")


def reloading(machine):
    """SIGHUP where the configuration is good, and nothing at all where it is not."""
    before = machine.show("MainPID")
    machine.configure('[[route]]\nevent = "enter"\naction = "join"\nroom = "{arg}"\n')
    code, said = machine.systemctl("reload", "gateway")
    check(code == 0, f"a reload: {said}")
    check(eventually("it reads the routes", lambda: "reload" in machine.log.read_text()), "it reads the routes")
    machine.configure('[[route]]\nevent = "enter"\naction = "no such action"\n')
    code, said = machine.systemctl("reload", "gateway")
    check(code != 0, "a reload of a mistake fails")
    check("no such action" in machine.log.read_text(), "and the mistake is told")
    check(machine.show("MainPID") == before and machine.status() == "200", "whoever was there is served on")
    machine.configure("")


def ending(machine):
    """It drains when it is stopped, and is started again when it dies."""
    before = machine.show("MainPID")
    os.kill(int(machine.main().name), signal.SIGKILL)
    eventually("it was started again", lambda: machine.show("MainPID") not in ("0", before) and machine.status() == "200")
    check(machine.show("NRestarts") == "1", "one restart")
    code, said = machine.systemctl("stop", "gateway")
    check(code == 0 and machine.show("Result") == "success", f"it ends well when it is told to: {machine.show('Result')} {said}")
    machine.configure("nonsense = 1\n")
    code, said = machine.systemctl("start", "gateway")
    check(code != 0 and "nonsense: no such key" in machine.log.read_text(), "a bad configuration does not start")
    machine.configure("")
    check(eventually("it starts by itself when that is mended", lambda: machine.status() == "200"), "it is there again")
    machine.systemctl("stop", "gateway")


def in_a_shell(machine):
    """What is imported and exported by the package's configuration, from any folder, is the service's, who can still open it."""
    machine.configure((ROOT / "deploy/deb/gateway.toml").read_text() + '\n[archive]\nrooms = ["kept"]\n')
    machine.systemctl("start", "gateway")
    eventually("it is ready with the package's configuration", lambda: machine.status() == "200")
    machine.systemctl("stop", "gateway")
    event = {"room": "kept", "offset": "1795345614052000", "epoch": "00c5" * 4, "at": 1795345614052, "event": "message", "args": ["hi", "1795345614052000"]}
    (machine.folder / "in").write_text(json.dumps(event) + "\n")
    for what, *words in (("import",), ("export", "--room", "kept")):
        # As README.md has it; nobody here carries messages, so that what goes in and out are files.
        own = ("DynamicUser=yes", "User=gateway", "StateDirectory=gateway", "UMask=0077", "Type=oneshot", "WorkingDirectory=/",
               f"StandardInput=file:{machine.folder}/in", f"StandardOutput=file:{machine.folder}/out", f"StandardError=append:{machine.log}")
        code, said = machine.do("systemd-run", "--quiet", *(f"--property={one}" for one in own),
                                "/usr/bin/gateway", what, "--config", "/etc/gateway/gateway.toml", *words)
        check(code == 0, f"{what} beside the service: {said}")
    out = (machine.folder / "out").read_text()
    check('"event":"message"' in out and '"room":"kept"' in out, f"what was imported is exported: {out}")
    code, said = machine.systemctl("start", "gateway")
    check(code == 0 and eventually("it is ready with what was imported", lambda: machine.status() == "200"), f"it starts with what was imported: {said}")
    machine.systemctl("stop", "gateway")
    machine.configure("")


def with_credentials(machine):
    """Secrets that root alone can read reach the service, and nobody's environment."""
    shutil.copy(UNITS / "secrets.conf", machine.folder / "units/gateway.service.d")
    secrets = {"redis_url": "redis://:hunter2@127.0.0.1:6379", "auth_secret": "a secret of this test, long enough", "admin_token": "t0ken"}
    for name, text in secrets.items():
        path = machine.folder / "etc/secrets" / name
        path.write_text(text + "\n")
        path.chmod(0o600)
    inside = ["nsenter", f"--target={machine.pid}", "--all", "--"]
    redis = subprocess.Popen([*inside, "redis-server", "--requirepass", "hunter2", "--save", "", "--dir", "/run"], stdout=subprocess.DEVNULL)
    try:
        machine.systemctl("daemon-reload")
        code, said = machine.systemctl("start", "gateway")
        check(code == 0, f"it starts with credentials: {said}")
        check(eventually("it reaches Redis with its password", lambda: machine.status() == "200"), "it reaches Redis")
        process = machine.main()
        shown = (process / "environ").read_text() if process else ""
        check("_FILE=/run/credentials/" in shown and "hunter2" not in shown, "its environment has paths and no secrets")
        code, said = machine.do("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Authorization: Bearer t0ken",
                                "http://127.0.0.1:9100/console/api/nodes")
        check(said == "200", f"operators get in with the token ({said})")
        check(machine.systemctl("stop", "gateway")[0] == 0, "it stops")
    finally:
        redis.terminate()
        redis.wait()


def refused_here():
    """Why systemd cannot be run in a sandbox here, as in most containers; nothing if it can."""
    with tempfile.TemporaryDirectory(prefix="gateway-systemd.") as folder:
        Path(folder, "etc").mkdir()
        code, said = run(ROOT / "deploy/tests/sandbox", HERE / "boot", BINARY, folder, "--look")
        return (said.strip() or f"exit code {code}") if code else None


def main():
    """All of it."""
    offline()
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        print("NOT TESTED: the unit under systemd itself, which takes root and systemd")
    elif refused := refused_here():
        print(f"NOT TESTED: the unit under systemd itself, as this machine does not let it be the first process of a sandbox: {refused}")
    else:
        machine = Machine()
        try:
            as_it_stands(machine)
            reloading(machine)
            ending(machine)
            in_a_shell(machine)
            with_credentials(machine)
        except Failed as error:
            check(False, str(error))
        finally:
            machine.end()
        if checks.failed:
            print(machine.log.read_text()[-3000:] if machine.log.exists() else "", f"logs are in {machine.folder}")
        else:
            shutil.rmtree(machine.folder)
    checks.close()


if __name__ == "__main__":
    main()
