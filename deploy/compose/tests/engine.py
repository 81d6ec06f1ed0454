"""Runs the services of a compose file as processes in namespaces, as a container engine would, with this machine's programs."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import images
from checks import Failed, eventually
from compose import Refused
from network import RESOLVER, Bridge, Names, Place

BOX = Path(__file__).with_name("box.py")


class Container:
    """One replica of a service."""

    def __init__(self, engine, service, number):
        self.engine = engine
        self.service = service
        self.number = number
        self.name = f"{engine.project.name}-{service.name}-{number}"
        self.image = images.of(service, engine.programs)
        # A later one may have the same name.
        self.folder = engine.folder / f"{self.name}.{time.monotonic_ns()}"
        (self.folder / "root").mkdir(parents=True)
        self.place = Place([engine.bridges[name] for name in service.networks], service.sysctls)
        self.hostname = os.urandom(6).hex()
        self.environment = {"PATH": images.PATH, "HOSTNAME": self.hostname, **self.image.environment, **service.environment}
        self.healthcheck = service.healthcheck or self.image.healthcheck
        self.process = None
        self.health = None
        self.wanted = False
        self.starts = 0
        engine.names.serve(self, self.place)

    @property
    def log(self):
        return self.folder / "log"

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self, command=None):
        """Starts its program; a thread watches over it from then on."""
        self.wanted = True
        self._launch(command)
        threading.Thread(target=self._watch, daemon=True).start()

    def _user(self):
        """The part of a command line that gives up what a container does not have."""
        line = ["setpriv", f"--reuid={self.image.user}", f"--regid={self.image.group}", "--clear-groups"]
        # In a user namespace of one user there is nobody else to become.
        if not self.engine.real_root:
            line = ["setpriv"]
        if self.service.no_new_privileges:
            line.append("--no-new-privs")
        if self.service.drop_all or self.image.user:
            line += ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
        return line

    def _line(self, command):
        variables = [f"{key}={value}" for key, value in self.environment.items()]
        return [*self._user(), "--", "env", "-i", *variables, *command]

    def _launch(self, command):
        mounts = []
        for one in self.service.mounts:
            source = one.source
            if one.volume:
                source = self.engine.volume(one.volume, self.image)
            mounts.append({"source": str(source), "target": one.target, "read_only": one.read_only})
        specification = {
            "root": str(self.folder / "root"),
            "hostname": self.hostname,
            "address": next(iter(self.place.addresses.values())),
            "resolver": RESOLVER,
            "files": {target: str(source) for target, source in self.image.files.items()},
            "mounts": mounts,
            "read_only": self.service.read_only,
            "limits": self.service.limits,
            "line": self._line(images.arguments(self.service, self.image, command)),
        }
        path = self.folder / "specification.json"
        path.write_text(json.dumps(specification))
        spaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.place.name, *spaces, shutil.which("python3"), str(BOX), str(path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        self.starts += 1
        self.started = time.monotonic()
        self.health = "starting" if self.healthcheck else None

    @property
    def pid(self):
        """The container's first process, as seen from here: the child of `unshare`."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children:
            raise Failed(f"{self.name} has no process")
        return int(children[0])

    def execute(self, command, patience=30):
        """Runs a command in the container, as `docker exec` does; returns how it ended and what it said."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--pid", "--net", "--root", "--wd"]
        ended = subprocess.run([*enter, *self._line(command)], capture_output=True, text=True, timeout=patience)
        return ended.returncode, ended.stdout + ended.stderr

    def signal(self, number):
        """Sends its first process a signal."""
        os.kill(self.pid, number)

    def stop(self):
        """Stops it as `docker stop` does; its exit code, or None if it had to be killed."""
        self.wanted = False
        if not self.running:
            return self.process.returncode if self.process else None
        self.signal(signal.Signals[self.image.stop_signal])
        try:
            return self.process.wait(self.service.grace)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
            return None

    def _watch(self):
        """Looks after its health and starts it again where that is its policy."""
        while self.wanted:
            process, check = self.process, self.healthcheck
            failures = 0
            while self.wanted and process.poll() is None:
                if check is None:
                    time.sleep(0.1)
                    continue
                beginning = self.health == "starting" and time.monotonic() - self.started < check.start_period
                self._wait(process, check.start_interval if beginning else check.interval)
                if process.poll() is not None or not self.wanted:
                    break
                if self._is_well(check):
                    self.health, failures = "healthy", 0
                elif not beginning:
                    failures += 1
                    if failures >= check.retries:
                        self.health = "unhealthy"
            if self.wanted and self.service.restart == "unless-stopped":
                # Longer each time, as Docker does.
                time.sleep(min(0.1 * 2**self.starts, 10))
                if self.wanted:
                    self._launch(None)
            else:
                self.wanted = False

    def _wait(self, process, duration):
        deadline = time.monotonic() + duration
        while self.wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def _is_well(self, check):
        kind, *command = check.test
        line = command if kind == "CMD" else ["/bin/sh", "-c", command[0]]
        try:
            return self.execute(line, check.timeout)[0] == 0
        except (subprocess.TimeoutExpired, Failed, FileNotFoundError):
            return False

    def remove(self):
        """Stops it, and gives its place back."""
        code = self.stop()
        self.engine.containers[self.service.name].remove(self)
        self.place.remove()
        return code


class Engine:
    """A project that is up."""

    def __init__(self, project, folder, programs, skipped=()):
        self.project = project
        self.folder = folder
        self.programs = programs
        # Services whose program this machine does not have.
        self.skipped = skipped
        # In a user namespace only one user is mapped.
        self.real_root = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
        self.containers = {}
        self.bridges = {name: Bridge(network, index + 1) for index, (name, network) in enumerate(sorted(project.networks.items()))}
        self.names = Names(self._lookup)

    def _lookup(self, asker, name):
        """The addresses of a name in the networks that the asker is in."""
        found = []
        for containers in self.containers.values():
            for container in containers:
                if container.running and name in (container.service.name, container.name, container.hostname):
                    shared = [network for network in container.service.networks if network in asker.service.networks]
                    found += [container.place.addresses[network] for network in shared[:1]]
        return found

    def volume(self, name, image):
        """The folder of a named volume, which belongs to the first who mounts it."""
        path = self.folder / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True)
            if self.real_root:
                os.chown(path, image.user, image.group)
        return path

    def up(self, profiles=()):
        """Starts everything that is of no profile or of one of these, each after what it needs, and waits until all is well."""
        waiting = [
            service
            for service in self.project.services.values()
            if service.name not in self.skipped and (not service.profiles or set(service.profiles) & set(profiles))
        ]
        while waiting:
            ready = [service for service in waiting if self._has_what_it_needs(service)]
            if not ready:
                raise Refused(f"{', '.join(service.name for service in waiting)} wait for each other")
            for service in ready:
                waiting.remove(service)
                self.scale(service.name, service.replicas, wait=False)
                for address, outside, inside in service.ports:
                    container = self.containers[service.name][0]
                    self.names.publish(address, outside, self._way_in(container), inside)
        for name in self.containers:
            self.wait(name)

    def _way_in(self, container):
        """Where Docker publishes the ports of a container: in the first of its networks by name."""
        return container.place.addresses[sorted(container.service.networks)[0]]

    def _has_what_it_needs(self, service):
        for needed, condition in service.needs.items():
            if needed not in self.containers:
                return False
            if condition != "service_healthy" or self.containers[needed][0].healthcheck is None:
                raise Refused(f"{service.name} waits for {needed}, which nobody can tell to be healthy")
            self.wait(needed)
        return True

    def wait(self, name):
        """Waits until all containers of a service are healthy."""
        for container in self.containers[name]:
            # The log says why not.
            def well(container=container):
                if not container.running and container.service.restart == "no":
                    raise Failed(container.log.read_text()[-2000:])
                if container.healthcheck is None:
                    return container.running
                return container.health == "healthy"

            try:
                eventually(f"{container.name} is healthy", well, 60)
            except Failed as error:
                raise Failed(f"{error}\n{container.log.read_text()[-3000:]}") from None

    def scale(self, name, count, wait=True):
        """Has so many containers of a service; those that go are stopped. Returns their exit codes."""
        service = self.project.services[name]
        containers = self.containers.setdefault(name, [])
        codes = [container.remove() for container in reversed(containers[count:])]
        for number in range(len(containers) + 1, count + 1):
            container = Container(self, service, number)
            containers.append(container)
            container.start()
        if wait:
            self.wait(name)
        return codes

    def run(self, name, command=None, environment=None, patience=120):
        """Runs a service once, as `docker compose run --rm` does; returns how it ended and what it said."""
        container = Container(self, self.project.services[name], 1)
        container.environment.update(environment or {})
        self.containers.setdefault(name, []).append(container)
        container.start(command)
        try:
            code = container.process.wait(patience)
            return code, container.log.read_text()
        finally:
            container.remove()
            shutil.rmtree(container.folder, ignore_errors=True)

    def down(self):
        """Stops everything, in the opposite order; exit codes by the names of containers."""
        codes = {}
        for name in reversed(list(self.containers)):
            for container in list(self.containers[name]):
                codes[container.name] = container.remove()
        return codes
