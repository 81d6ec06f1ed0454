#!/usr/bin/env python3
"""Installs the Debian package into a copy of this machine's root that only this process sees, upgrades it, and takes it out again.

    deploy/tests/sandbox deploy/deb/tests/check.py PACKAGE

Needs root and overlayfs. Prints what failed and, as the last line, "N passed, N failed".
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ci"))

import checks
from checks import check, eventually

OWN = "etc/gateway/gateway.toml"
UNIT = "usr/lib/systemd/system/gateway.service"


def run(*line):
    """How a program ended and what it said."""
    ended = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=120)
    return ended.returncode, ended.stdout + ended.stderr


class Root:
    """A root in which everything may be changed, and nothing of it stays."""

    def __init__(self, folder):
        written, work, self.path = folder / "written", folder / "work", folder / "root"
        run("mount", "-t", "tmpfs", "tmpfs", folder)
        for one in (written, work, self.path):
            one.mkdir()
        options = f"lowerdir=/,upperdir={written},workdir={work}"
        code, said = run("mount", "-t", "overlay", "overlay", "-o", options, self.path)
        if code:
            raise SystemExit(f"there is no copy of this root to be had: {said}")
        for one in ("dev", "proc"):
            run("mount", "--rbind", f"/{one}", self.path / one)
        run("mount", "-t", "tmpfs", "tmpfs", self.path / "tmp")
        # Whoever installs a package in a chroot says so: nothing is started.
        (self.path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (self.path / "usr/sbin/policy-rc.d").chmod(0o755)

    def do(self, *line):
        """Runs a program in it."""
        return run("chroot", self.path, "env", "DEBIAN_FRONTEND=noninteractive", *line)

    def put(self, package):
        """The package where it can be reached from inside."""
        shutil.copy(package, self.path / "tmp")
        return f"/tmp/{Path(package).name}"

    def has(self, path):
        return (self.path / path).exists()


def next_version(package, folder):
    """The same package as if a release later: a higher version, and another default in the file that people edit."""
    run("dpkg-deb", "--raw-extract", package, folder)
    control = folder / "DEBIAN/control"
    version = next(line.split(": ")[1] for line in control.read_text().splitlines() if line.startswith("Version: "))
    control.write_text(control.read_text().replace(f"Version: {version}", f"Version: {version}.next"))
    (folder / OWN).write_text((folder / OWN).read_text() + "# A new hint.\n")
    # dpkg compares what it wrote with these.
    sums = folder / "DEBIAN/md5sums"
    if sums.exists():
        sums.unlink()
    made = folder.parent / "next.deb"
    code, said = run("dpkg-deb", "--root-owner-group", "--build", folder, made)
    check(code == 0, f"a package of a later version can be made: {said}")
    return made, f"{version}.next"


def state(root):
    """What dpkg says of it: its state and its version."""
    code, said = root.do("dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Version}", "gateway")
    return said.split() if code == 0 else []


def installing(root, package):
    """It is there, nothing runs, and it is one command away."""
    code, said = root.do("dpkg", "--install", root.put(package))
    check(code == 0, f"it can be installed: {said[-800:]}")
    check(state(root)[:1] == ["ii"], f"dpkg takes it for installed: {state(root)}")
    check(root.has(UNIT) and root.has("etc/sysctl.d/90-gateway.conf"), "it brings its unit and the kernel's settings")
    wanted = list((root.path / "etc/systemd/system").glob("*.wants/gateway.service"))
    check(not wanted, f"it is not enabled before it has a configuration: {wanted}")
    code, said = root.do("systemd-analyze", "verify", f"/{UNIT}")
    check(code == 0, f"systemd takes its unit: {said}")
    code, said = root.do("gateway", "check", "--config", f"/{OWN}")
    check(code == 0, f"the configuration that it brings is good: {said}")
    code, said = root.do("systemctl", "enable", "gateway")
    check(code == 0 and root.has("etc/systemd/system/multi-user.target.wants"), f"it can be enabled: {said}")


def running(root):
    """The program that was installed serves."""
    line = ["chroot", root.path, "gateway", "serve", "--config", f"/{OWN}"]
    node = subprocess.Popen(list(map(str, line)), stderr=subprocess.PIPE, text=True)
    try:
        eventually("it is ready", lambda: root.do("gateway", "healthcheck")[0] == 0)
        check(True, "it is ready")
    except checks.Failed as error:
        check(False, str(error))
    finally:
        node.terminate()
        _, said = node.communicate(timeout=60)
    check(list((root.path / "var/lib/gateway").glob("*.sqlite")), "what it keeps is where its configuration says")
    check(node.returncode == 0, f"it ends as it should: {node.returncode}, {said[-800:]}")


def upgrading(root, package, folder):
    """What people wrote into its configuration stays as it is."""
    own = root.path / OWN
    own.write_text(own.read_text().replace('"127.0.0.1:3000"', '"127.0.0.1:3999"'))
    ours = own.read_text()
    later, version = next_version(package, folder)
    code, said = root.do("dpkg", "--force-confold", "--install", root.put(later))
    check(code == 0, f"it can be upgraded: {said[-800:]}")
    check(state(root) == ["ii", version], f"the later version is there: {state(root)}")
    check(own.read_text() == ours and "3999" in ours, "its configuration is what it was")
    check(root.has(f"{OWN}.dpkg-dist"), "the new one lies beside it")


def leaving(root):
    """Removed, it leaves what people wrote; purged, nothing."""
    code, said = root.do("dpkg", "--remove", "gateway")
    check(code == 0, f"it can be removed: {said[-800:]}")
    check(not root.has("usr/bin/gateway") and not root.has(UNIT), "the program and its unit are gone")
    check(root.has(OWN), "its configuration stays until it is purged")
    code, said = root.do("dpkg", "--purge", "gateway")
    check(code == 0, f"it can be purged: {said[-800:]}")
    links = list((root.path / "etc/systemd/system").rglob("gateway.service"))
    check(not root.has("etc/gateway") and not links, f"nothing of it is left: {links}")
    check(not root.has("etc/sysctl.d/90-gateway.conf"), "the kernel's settings are gone as well")


def main():
    """All of it."""
    if os.geteuid() != 0 or len(sys.argv) != 2:
        raise SystemExit("as root: deploy/tests/sandbox deploy/deb/tests/check.py PACKAGE")
    package = Path(sys.argv[1]).resolve()
    folder = Path(tempfile.mkdtemp(prefix="gateway-deb."))
    root = Root(folder)
    installing(root, package)
    running(root)
    upgrading(root, package, folder / "later")
    leaving(root)
    # The mounts end with the sandbox; what they were on is empty.
    run("umount", "--lazy", "--recursive", folder)
    folder.rmdir()
    checks.close()


if __name__ == "__main__":
    main()
