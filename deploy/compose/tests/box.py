"""Becomes the first process of a container: its files, its user, its limits, and then its program.

    box.py SPECIFICATION    a file of JSON, in namespaces that engine.py has made
"""

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

# Of this machine, because the programs are this machine's.
SHARED = ["bin", "sbin", "lib", "lib64", "libexec", "share"]
DEVICES = ["null", "zero", "full", "random", "urandom"]
KNOWN_USERS = ["passwd", "group", "nsswitch.conf", "ld.so.cache", "ssl", "alternatives"]


def mount(*arguments):
    """Mounts something."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def bind(source, target, read_only=False):
    """Has something of this machine in the container."""
    source, target = Path(source), Path(target)
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--bind", source, target)
    if read_only:
        mount("-o", "remount,bind,ro", target)


def files(root, specification):
    """A root with nothing of the container's but what its service mounts."""
    mount("-t", "tmpfs", "tmpfs", root)
    for name in SHARED:
        source = Path("/usr", name)
        if source.is_dir():
            bind(source, root / "usr" / name, read_only=True)
        link = Path("/", name)
        if link.is_symlink():
            (root / name).symlink_to(link.readlink())
    for name in KNOWN_USERS:
        source = Path("/etc", name)
        if source.exists():
            bind(source, root / "etc" / name, read_only=True)
    (root / "etc" / "resolv.conf").write_text(f"nameserver {specification['resolver']}\noptions ndots:0\n")
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{specification['address']} {specification['hostname']}\n")
    (root / "dev").mkdir()
    for name in DEVICES:
        bind(Path("/dev", name), root / "dev" / name)
    for number, name in enumerate(["stdin", "stdout", "stderr"]):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev" / "fd").symlink_to("/proc/self/fd")
    (root / "tmp").mkdir(mode=0o1777)
    (root / "tmp").chmod(0o1777)
    (root / "proc").mkdir()
    for target, source in specification["files"].items():
        bind(source, root / target.lstrip("/"), read_only=True)
    for one in specification["mounts"]:
        bind(one["source"], root / one["target"].lstrip("/"), one["read_only"])
    mount("-t", "proc", "proc", root / "proc")
    if specification["read_only"]:
        mount("-o", "remount,ro", root)


def main():
    specification = json.loads(Path(sys.argv[1]).read_text())
    socket.sethostname(specification["hostname"])
    root = Path(specification["root"])
    files(root, specification)
    for name, limit in specification["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        # Who may not raise it has what there is.
        most = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (min(limit["soft"], most), min(limit["hard"], most)))
    os.chroot(root)
    os.chdir("/")
    os.execvpe(specification["line"][0], specification["line"], {"PATH": "/usr/sbin:/usr/bin"})


if __name__ == "__main__":
    main()
