"""Networks of containers in a sandbox: bridges, addresses, names, published ports. All of it is gone with the sandbox."""

import asyncio
import ctypes
import ipaddress
import os
import socket
import struct
import subprocess
import threading

NEWNET = 0x40000000
# Where containers ask for names.
RESOLVER = "127.0.0.11"


def run(*command):
    """Runs a program that must succeed."""
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)


class Bridge:
    """One network of the project; the sandbox itself is in it as `.1`, as the host is with Docker."""

    def __init__(self, network, index):
        self.name = network.name
        self.internal = network.internal
        self.device = f"br{index}"
        self.subnet = ipaddress.ip_network(network.subnet or f"172.31.{index}.0/24")
        self.hosts = self.subnet.hosts()
        self.gateway = next(self.hosts)
        run("ip", "link", "add", self.device, "type", "bridge")
        run("ip", "address", "add", f"{self.gateway}/{self.subnet.prefixlen}", "dev", self.device)
        run("ip", "link", "set", self.device, "up")


class Place:
    """The network namespace of a container, with an address in each of its networks. It outlives restarts."""

    count = 0

    def __init__(self, bridges, sysctls):
        Place.count += 1
        self.name = f"c{Place.count}"
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        self.addresses = {}
        # By their names, as Docker does: the first that leads out is the way out.
        way_out = None
        for index, bridge in enumerate(sorted(bridges, key=lambda bridge: bridge.name)):
            address = next(bridge.hosts)
            outside, inside = f"v{Place.count}n{index}", f"eth{index}"
            run("ip", "link", "add", outside, "master", bridge.device, "type", "veth", "peer", inside, "netns", self.name)
            run("ip", "link", "set", outside, "up")
            self.run("ip", "address", "add", f"{address}/{bridge.subnet.prefixlen}", "dev", inside)
            self.run("ip", "link", "set", inside, "up")
            self.addresses[bridge.name] = str(address)
            if way_out is None and not bridge.internal:
                way_out = bridge.gateway
        if way_out is not None:
            self.run("ip", "route", "add", "default", "via", way_out)
        for key, value in sysctls.items():
            self.run("sh", "-c", 'printf %s "$1" >"/proc/sys/$2"', "sh", value, key.replace(".", "/"))

    def run(self, *command):
        """Runs a program in there."""
        run("ip", "netns", "exec", self.name, *command)

    def socket(self, *kind):
        """A socket in there, for this process."""
        made = []

        # A namespace is a thread's: this one ends with having made it.
        def make():
            libc = ctypes.CDLL(None, use_errno=True)
            handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            if libc.setns(handle, NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(handle)
            made.append(socket.socket(*kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def remove(self):
        """Takes it away, with all that is in it."""
        run("ip", "netns", "delete", self.name)


class Names:
    """Answers containers who is called what: in each network an address for every container of a service that runs."""

    def __init__(self, lookup):
        self.lookup = lookup
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def serve(self, container, place):
        """Answers in a namespace. The socket closes with the process, or when its namespace goes."""
        server = place.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((RESOLVER, 53))
        server.setblocking(False)

        def answer():
            try:
                question, asker = server.recvfrom(4096)
                server.sendto(self.answer(container, question), asker)
            except (BlockingIOError, struct.error, IndexError, UnicodeDecodeError):
                pass

        self.loop.call_soon_threadsafe(self.loop.add_reader, server, answer)

    def answer(self, container, question):
        """The answer to one question of DNS."""
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack("!H", question[at + 1 : at + 3])[0]
        found = self.lookup(container, ".".join(labels).lower())
        addresses = found if kind == 1 and found else []
        # No error without an answer: the name is known, but not as what was asked.
        flags = 0x8180 if found else 0x8183
        head = question[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in addresses)
        return head + question[12 : at + 5] + records

    def publish(self, address, outside, target, inside):
        """Passes connections on from a port of the sandbox to one of a container."""

        async def pass_on(reader, writer):
            try:
                there_reader, there_writer = await asyncio.open_connection(target, inside)
            except OSError:
                return writer.close()

            async def copy(source, sink):
                try:
                    while data := await source.read(65536):
                        sink.write(data)
                        await sink.drain()
                except OSError:
                    pass
                sink.close()

            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

        asyncio.run_coroutine_threadsafe(asyncio.start_server(pass_on, address, outside), self.loop).result()
