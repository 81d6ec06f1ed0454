#!/usr/bin/env python3
"""Looks at what `deploy/image/build` makes the image of, and runs it in a root that has nothing else.

    check.py       in `deploy/tests/sandbox`, after deploy/image/build

Needs readelf and objcopy (binutils), k6 (.tools/bin), and buildah or Docker for the image itself. Prints the figures and, as the last line,
"N passed, N failed".
"""

import gzip
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ci"))

import checks
from checks import check

ROOT = Path(__file__).resolve().parents[3]
MADE = ROOT / ".tools/image"
# What is pulled, compressed as engines do it.
MOST = 30_000_000
STARTS = 10
# Of root's programs, which need not be among those of whoever calls.
CHROOT = shutil.which("chroot", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
PLAIN = {"GATEWAY_LISTEN": "127.0.0.1:3000", "GATEWAY_ADMIN_LISTEN": "127.0.0.1:9100", "GATEWAY_DATA_DIR": "/data"}


def run(*line, **more):
    """What a program said, which must succeed."""
    return subprocess.run(list(map(str, line)), check=True, capture_output=True, text=True, **more).stdout


def weight(folder):
    """The bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def what_it_is(program):
    """Static, and with the list of what it is made of."""
    segments = run("readelf", "--program-headers", "--wide", program)
    check("INTERP" not in segments, "it needs no loader")
    check("NEEDED" not in run("readelf", "--dynamic", "--wide", program), "it needs no libraries")
    with tempfile.NamedTemporaryFile() as section:
        run("objcopy", f"--dump-section=.dep-v0={section.name}", program, "/dev/null")
        packages = json.loads(zlib.decompress(Path(section.name).read_bytes()))["packages"]
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    known = {(package["name"], package["version"]) for package in locked}
    check({(package["name"], package["version"]) for package in packages} <= known, "its list is of this Cargo.lock")
    check({"gateway", "tokio", "mimalloc"} <= {package["name"] for package in packages}, "its list is its own")
    print(f"program: {program.stat().st_size / 1e6:.1f} MB, static, with a list of {len(packages)} packages", flush=True)


class Empty:
    """The image's files in a root of their own, with a program that runs there as the image says."""

    def __init__(self, source, folder):
        self.root = folder / "root"
        shutil.copytree(source / "all", self.root, symlinks=True)
        shutil.copytree(source / "own", self.root, dirs_exist_ok=True)
        os.chown(self.root / "data", 65532, 65532)
        self.log = folder / "log"

    def line(self, *command):
        """A command line in there."""
        return [CHROOT, "--userspec=65532:65532", "--groups=", str(self.root), *command]

    def start(self):
        """Starts it; how many seconds it took to be ready, and the process."""
        with self.log.open("ab") as log:
            began = time.monotonic()
            process = subprocess.Popen(self.line("/gateway"), env=PLAIN, stdout=log, stderr=log)
        while time.monotonic() - began < 20:
            try:
                with urllib.request.urlopen("http://127.0.0.1:9100/readyz", timeout=1) as answer:
                    if answer.status == 200:
                        return time.monotonic() - began, process
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.001)
        raise SystemExit(f"not ready: {self.log.read_text()[-2000:]}")


def in_nothing(source, folder):
    """It runs where there is nothing else, not even /proc, and does what it should."""
    empty = Empty(source, folder)
    took = []
    for _ in range(STARTS):
        seconds, process = empty.start()
        took.append(seconds * 1000)
        process.send_signal(signal.SIGTERM)
        check(process.wait(30) == 0, "it ends well when it is told to")
    print(f"ready {statistics.median(took):.0f} ms after its start (median of {STARTS}, {min(took):.0f} to {max(took):.0f})", flush=True)
    _, process = empty.start()
    try:
        check(subprocess.run(empty.line("/gateway", "healthcheck"), env=PLAIN).returncode == 0, "its health check says so")
        ended = subprocess.run([ROOT / ".tools/bin/k6", "run", "--quiet", ROOT / "loadtest/k6/smoke.js"], capture_output=True, text=True)
        check(ended.returncode == 0, f"the smoke test:\n{(ended.stdout + ended.stderr)[-1500:]}")
        check(any((empty.root / "data").iterdir()), "its data is in /data")
        with urllib.request.urlopen("http://127.0.0.1:3000/") as page:
            check(b"<script" in page.read(), "it has its pages")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    said = empty.log.read_text()
    check("panicked" not in said, "nothing panics")
    # Said at the start by who finds none.
    missing = "are the CA certificates installed?"
    check(missing not in said, "it finds whom to trust for https")
    (empty.root / "etc/ssl/certs/ca-certificates.crt").unlink()
    _, process = empty.start()
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    check(missing in empty.log.read_text(), "and would say so if it did not")


def the_image(folder):
    """What buildah makes of the Dockerfile with these files, as an engine would see it."""
    if not shutil.which("buildah"):
        print("NOT TESTED: the image itself, because buildah is not installed")
        return
    # A store of this test alone, on whatever file system there is.
    storage = folder / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/store"\nrunroot = "{folder}/run"\n')
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage)}
    run("buildah", "build", "--format", "docker", "--build-context", f"build={MADE}", "--build-arg", "REVISION=0123456789ab",
        "--file", ROOT / "deploy/image/Dockerfile", "--tag", "gateway:test", MADE, env=environment)
    seen = json.loads(run("buildah", "inspect", "--type", "image", "gateway:test", env=environment))["Docker"]["config"]
    check(seen["User"] == "65532:65532", f"it is not root: {seen['User']}")
    check(seen["Entrypoint"] == ["/gateway"] and not seen.get("Cmd"), f"it starts the gateway: {seen['Entrypoint']} {seen.get('Cmd')}")
    check(seen["Healthcheck"]["Test"] == ["CMD", "/gateway", "healthcheck"], "it has a health check")
    check(seen["StopSignal"] == "SIGTERM" and set(seen["ExposedPorts"]) == {"3000/tcp", "9100/tcp"}, "it says how it ends, and its ports")
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in seen["Labels"].items()}
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    check(labels["version"] == version["version"] and labels["licenses"] == version["license"], f"its labels are true: {labels}")
    check(labels["revision"] == "0123456789ab" and labels["title"] == "gateway", f"its labels are true: {labels}")
    container = run("buildah", "from", "--pull=never", "gateway:test", env=environment).strip()
    place = Path(run("buildah", "mount", container, env=environment).strip())
    files = sorted(path for path in place.rglob("*") if path.is_file())
    pulled = sum(len(gzip.compress(path.read_bytes(), 6)) for path in files)
    names = ", ".join(str(path.relative_to(place)) for path in files)
    print(f"image: {pulled / 1e6:.1f} MB to pull, {weight(place) / 1e6:.1f} MB on the disk: {names}", flush=True)
    check(pulled <= MOST, f"{pulled} bytes to pull are more than {MOST}")
    data = (place / "data").stat()
    check((data.st_uid, data.st_gid, data.st_mode & 0o777) == (65532, 65532, 0o700), "/data is the gateway's own")
    check(not (place / "gateway").stat().st_mode & 0o22 and (place / "gateway").stat().st_uid == 0, "the program is root's")
    run("buildah", "rm", container, env=environment)


def main():
    """All of it."""
    program = MADE / "rooted/all/gateway"
    if not program.exists():
        raise SystemExit("there is nothing to test: deploy/image/build makes it")
    folder = Path(tempfile.mkdtemp(prefix="gateway-image."))
    folder.chmod(0o755)
    try:
        what_it_is(program)
        in_nothing(MADE / "rooted", folder)
        the_image(folder)
    finally:
        shutil.rmtree(folder)
    checks.close()


if __name__ == "__main__":
    main()
