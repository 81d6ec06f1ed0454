"""The official Python client, in both of its flavours, against three nodes behind HAProxy."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
import unittest
from pathlib import Path

import socketio

REPOSITORY = Path(__file__).resolve().parents[3]
SECONDS = 15
# What a client may be told about transports; without it, it starts with long-polling and upgrades.
MODES = {
    "default transports": {},
    "websocket only": {"transports": ["websocket"]},
    "polling only": {"transports": ["polling"]},
}

cluster = None


class Cluster:
    """A private cluster; it ends when its standard input does, so nothing outlives this process."""

    def __init__(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        binary = os.environ.get("GATEWAY_BIN", str(REPOSITORY / "target/release/gateway"))
        environment |= {
            "GATEWAY_BIN": binary,
            # All clients of a test share one address.
            "GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS": "0",
            "GATEWAY_LIMITS__EVENTS_PER_SECOND": "0",
            "NODES": "3",
            "PORT": "0",
            "REDIS_PORT": "0",
        }
        command = [REPOSITORY / "deploy/local/cluster.sh", "--json"]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        # The script has its own deadlines for everything that it starts: it answers or it ends.
        first = json.loads(self.process.stdout.readline() or '{"message": "it said nothing"}')
        if "url" not in first:
            self.process.wait(SECONDS)
            raise RuntimeError(f"no cluster: {first['message']}")
        self.port = first["haproxy_port"]
        self.nodes = first["nodes"]

    def panics(self):
        logs = [Path(node["log"]).read_text(errors="replace") for node in self.nodes]
        return [line for log in logs for line in log.splitlines() if "panicked" in line]

    def kill_and_start_again(self, number, meanwhile):
        """Kills a node without a word, does something, and waits until the node is there again."""
        node = self.nodes[number]
        os.kill(node["pid"], signal.SIGKILL)
        self.told("ended", node["name"])
        meanwhile()
        self.process.stdin.write(f"start {node['name']}\n")
        self.process.stdin.flush()
        node["pid"] = self.told("started", node["name"])["pid"]

    def told(self, event, name):
        line = json.loads(self.process.stdout.readline() or '{"event": "nothing"}')
        assert (line["event"], line.get("name")) == (event, name), line
        return line

    def stop(self):
        self.process.stdin.close()
        code = self.process.wait(40)
        self.process.stdout.close()
        return code

    @property
    def url(self):
        # By name, as aiohttp keeps no cookies for bare addresses, and long-polling needs the load balancer's.
        return f"http://localhost:{self.port}"


def setUpModule():
    global cluster
    cluster = Cluster()


def tearDownModule():
    panics = cluster.panics()
    code = cluster.stop()
    assert panics == [], panics
    assert code == 0, f"the cluster ended with {code}"


def increasing(offsets):
    numbers = [int(offset) for offset in offsets]
    return all(earlier < later for earlier, later in zip(numbers, numbers[1:]))


def heard_by(client, events=("message",)):
    """Everything that a client hears from now on, as (event, payload, offset)."""
    heard = []
    for event in events:
        client.on(event, lambda payload, offset=None, *_, event=event: heard.append((event, payload, offset)))
    return heard


def hellos_of(client):
    """What the gateway says about the session of every connection, as (session, offset)."""
    hellos = []
    client.on("gateway:session", lambda session, offset=None: hellos.append((session, offset)))
    return hellos


class Threads(unittest.TestCase):
    """`socketio.Client`. It hands every packet to a thread of its own, so that order shows in offsets only."""

    def connect(self, url, **options):
        client = socketio.Client(reconnection=False)
        # Registered before connecting, as the documentation of the client asks for.
        client.heard = heard_by(client, ("message", "note", "typing"))
        client.connect(url, wait_timeout=SECONDS, **options)
        self.addCleanup(client.disconnect)
        return client

    def ok(self, client, event, body):
        ack = client.call(event, body, timeout=SECONDS)
        self.assertIs(ack["ok"], True, f"{event} was refused: {ack}")
        return ack

    def eventually(self, what, check):
        deadline = time.monotonic() + SECONDS
        while not check():
            self.assertLess(time.monotonic(), deadline, f"not within {SECONDS} s: {what}")
            time.sleep(0.02)

    def test_rooms_events_and_acks(self):
        for mode, options in MODES.items():
            with self.subTest(mode):
                room = f"threads, {mode}"
                one = self.connect(cluster.url, **options)
                two = self.connect(cluster.nodes[1]["url"], **options)
                transport = "polling" if mode == "polling only" else "websocket"
                self.assertEqual(one.transport(), transport)
                for client in (one, two):
                    ack = self.ok(client, "join", {"room": room})
                    self.assertEqual(ack["room"], room)
                first = self.ok(one, "publish", {"room": room, "data": {"text": "Grüße 🌍"}})
                second = self.ok(two, "publish", {"room": room, "event": "note", "data": [1, None]})
                self.ok(one, "signal", {"room": room, "event": "typing", "data": True})
                self.assertTrue(increasing([first["offset"], second["offset"]]))
                expected = {
                    ("message", first["offset"], '{"text": "Grüße 🌍"}'),
                    ("note", second["offset"], "[1, null]"),
                    ("typing", None, "true"),
                }
                self.eventually("all three are heard", lambda: len(two.heard) >= 3)
                heard = {
                    (event, offset, json.dumps(payload["data"], ensure_ascii=False))
                    for event, payload, offset in two.heard
                }
                self.assertEqual(heard, expected)
                history = self.ok(two, "history", {"room": room})
                self.assertEqual(
                    [(event["event"], event["offset"]) for event in history["events"]],
                    [("message", first["offset"]), ("note", second["offset"])],
                )
                self.assertEqual(self.ok(two, "leave", {"room": room}), {"ok": True})
                refusal = two.call("publish", {"room": room, "data": 1}, timeout=SECONDS)
                self.assertEqual(refusal["error"]["code"], "not_in_room")

    def test_handlers_get_events_as_they_were_published(self):
        for mode, options in MODES.items():
            with self.subTest(mode):
                room = f"as published, {mode}"
                client = socketio.Client(reconnection=False)
                heard, hellos = [], []

                @client.event
                def message(data):
                    heard.append(data)

                client.on("note", heard.append)
                client.on("gateway:session", hellos.append)
                client.connect(cluster.url, wait_timeout=SECONDS, auth={"offset": False}, **options)
                self.addCleanup(client.disconnect)
                self.ok(client, "join", {"room": room})
                first = self.ok(client, "publish", {"room": room, "data": "text"})
                self.ok(client, "signal", {"room": room, "event": "note", "data": "text"})
                self.eventually("both are heard", lambda: len(heard) == 2)
                kept = next(data for data in heard if "at" in data)
                self.assertEqual((kept["data"], kept["offset"]), ("text", first["offset"]))
                client.disconnect()
                member = self.connect(cluster.url, transports=["websocket"])
                self.ok(member, "join", {"room": room})
                missed = self.ok(member, "publish", {"room": room, "data": "missed"})
                auth = {"offset": False, "offsets": {room: kept["offset"]}}
                client.connect(cluster.url, wait_timeout=SECONDS, auth=auth, **options)
                self.eventually("what it missed is heard", lambda: len(heard) == 3)
                self.assertEqual(heard[-1]["offset"], missed["offset"])
                self.assertEqual(hellos, [{"recovered": False}, {"recovered": True, "rooms": [room]}])

    def test_bytes_escaped_names_and_bursts(self):
        speaker = self.connect(cluster.nodes[0]["url"], transports=["websocket"])
        for mode, options in MODES.items():
            with self.subTest(mode):
                room = f"threads, bytes, {mode}"
                client = self.connect(cluster.url, **options)
                # The client writes é as an escape.
                client.heard = heard_by(client, ("é",))
                burst = heard_by(client)
                for member in (speaker, client):
                    self.ok(member, "join", {"room": room})
                data = {"name": "picture", "image": bytes(range(256)), "layers": [{"mask": b"\x00\xff"}]}
                self.ok(client, "publish", {"room": room, "event": "é", "data": data})
                self.eventually("it is heard", lambda: client.heard)
                self.assertEqual([payload["data"] for _, payload, _ in client.heard], [data])
                history = self.ok(client, "history", {"room": room})
                self.assertEqual([event["args"][0]["data"] for event in history["events"]], [data])
                # More at once than the client takes in one answer to a poll.
                for turn in range(100):
                    speaker.emit("publish", {"room": room, "data": turn})
                self.eventually("the burst is heard", lambda: len(burst) >= 100)
                self.assertEqual(sorted(payload["data"] for _, payload, _ in burst), list(range(100)))

    def test_a_node_is_killed_and_the_client_comes_back_by_itself(self):
        room = "threads, killed"
        speaker = self.connect(cluster.nodes[0]["url"], transports=["websocket"])
        self.ok(speaker, "join", {"room": room})
        travellers = {}
        for mode, options in MODES.items():
            client = socketio.Client(reconnection_delay=0.05, reconnection_delay_max=0.2)
            client.heard = heard_by(client)
            client.hellos = hellos_of(client)
            client.connect(cluster.nodes[2]["url"], wait_timeout=SECONDS, **options)
            self.addCleanup(client.disconnect)
            self.ok(client, "join", {"room": room})
            travellers[mode] = client
        first = self.ok(speaker, "publish", {"room": room, "data": "before"})["offset"]
        for client in travellers.values():
            self.eventually("it is heard", lambda: len(client.heard) == 1)
        cluster.kill_and_start_again(2, lambda: self.ok(speaker, "publish", {"room": room, "data": b"missed"}))
        for mode, client in travellers.items():
            with self.subTest(mode):
                self.eventually("it is back", lambda: len(client.hellos) == 2 and client.connected)
                self.assertIs(self.ok(client, "join", {"room": room, "after": first})["recovered"], True)
                self.eventually("what it missed is heard", lambda: len(client.heard) == 2)
                self.assertEqual([payload["data"] for _, payload, _ in client.heard], ["before", b"missed"])
                self.assertEqual(client.transport(), "polling" if mode == "polling only" else "websocket")

    def test_every_event_arrives_once(self):
        room = "threads, many"
        members = [self.connect(node["url"], transports=["websocket"]) for node in cluster.nodes]
        for member in members:
            self.ok(member, "join", {"room": room})
        published = []

        def publish(member):
            for turn in range(50):
                published.append(self.ok(member, "publish", {"room": room, "data": turn})["offset"])

        threads = [threading.Thread(target=publish, args=(member,)) for member in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(len(published), 150)
        for member in members:
            self.eventually("everything is heard", lambda: len(member.heard) >= len(published))
            offsets = sorted((int(offset) for _, _, offset in member.heard))
            self.assertEqual(offsets, sorted(map(int, published)))


class Tasks(unittest.IsolatedAsyncioTestCase):
    """`socketio.AsyncClient`. It keeps the order of packets, so order and bytes are judged here."""

    async def connect(self, url, **options):
        client = socketio.AsyncClient(reconnection=False)
        client.heard = heard_by(client)
        client.hellos = hellos_of(client)
        await client.connect(url, wait_timeout=SECONDS, **options)
        self.addAsyncCleanup(client.disconnect)
        return client

    async def ok(self, client, event, body):
        ack = await client.call(event, body, timeout=SECONDS)
        self.assertIs(ack["ok"], True, f"{event} was refused: {ack}")
        return ack

    async def eventually(self, what, check):
        deadline = time.monotonic() + SECONDS
        while not check():
            self.assertLess(time.monotonic(), deadline, f"not within {SECONDS} s: {what}")
            await asyncio.sleep(0.02)

    async def members(self, room, options):
        urls = [cluster.url, *(node["url"] for node in cluster.nodes)]
        members = [await self.connect(url, **options) for url in urls]
        for member in members:
            await self.ok(member, "join", {"room": room})
        return members

    async def test_order_is_the_same_everywhere(self):
        for mode, options in MODES.items():
            with self.subTest(mode):
                room = f"tasks, {mode}"
                members = await self.members(room, options)

                async def publish(member, name):
                    bodies = [{"room": room, "data": [name, turn]} for turn in range(50)]
                    return [(await self.ok(member, "publish", body))["offset"] for body in bodies]

                published = await asyncio.gather(*(publish(member, name) for name, member in enumerate(members)))
                expected = sorted((int(offset) for offsets in published for offset in offsets))
                for member in members:
                    await self.eventually("everything is heard", lambda: len(member.heard) >= len(expected))
                    self.assertEqual([int(offset) for _, _, offset in member.heard], expected)
                    self.assertEqual(member.heard, members[0].heard)

    async def test_offsets_by_room_bring_back_what_was_missed(self):
        for mode, options in MODES.items():
            with self.subTest(mode):
                rooms = [f"offsets, {mode}, {number}" for number in range(3)]
                speaker = await self.connect(cluster.nodes[0]["url"], transports=["websocket"])
                traveller = await self.connect(cluster.url, **options)
                for client in (speaker, traveller):
                    for room in rooms:
                        await self.ok(client, "join", {"room": room})
                offsets = {}
                for room in rooms:
                    offsets[room] = (await self.ok(speaker, "publish", {"room": room, "data": "heard"}))["offset"]
                await self.eventually("everything is heard", lambda: len(traveller.heard) == 3)
                await traveller.disconnect()
                missed = [
                    (await self.ok(speaker, "publish", {"room": room, "data": turn}))["offset"]
                    for turn in range(20)
                    for room in rooms
                ]
                # Another process of the same application, on another node; all that it has are the offsets.
                back = await self.connect(cluster.nodes[2]["url"], auth={"offsets": offsets}, **options)
                live = (await self.ok(speaker, "publish", {"room": rooms[1], "data": "live"}))["offset"]
                await self.eventually("everything is heard", lambda: len(back.heard) >= 61)
                hello, _ = back.hellos[0]
                self.assertIs(hello["recovered"], True, hello)
                self.assertEqual(sorted(hello["rooms"]), sorted(rooms))
                self.assertEqual(len(back.heard), 61)
                for room in rooms:
                    heard = [offset for _, payload, offset in back.heard if payload["room"] == room]
                    self.assertTrue(increasing(heard))
                self.assertEqual({offset for _, _, offset in back.heard}, {*missed, live})
                self.assertEqual(back.heard[-1][2], live)
                await self.ok(back, "publish", {"room": rooms[2], "data": "a member"})

    async def test_offsets_are_all_or_nothing(self):
        speaker = await self.connect(cluster.nodes[0]["url"], transports=["websocket"])
        room = "offsets, in part"
        await self.ok(speaker, "join", {"room": room})
        first = (await self.ok(speaker, "publish", {"room": room, "data": "first"}))["offset"]
        await self.ok(speaker, "publish", {"room": room, "data": "second"})
        future = str(int(first) + 10**9)
        for offsets in ({room: first, "another": future}, {room: "-1"}, {room: None}, {"": first}, [room], "x"):
            with self.subTest(offsets):
                client = await self.connect(cluster.url, transports=["websocket"], auth={"offsets": offsets})
                await self.eventually("it is told", lambda: client.hellos)
                hello, _ = client.hellos[0]
                self.assertIs(hello["recovered"], False, hello)
                self.assertTrue(hello["reason"], hello)
                refusal = await client.call("publish", {"room": room, "data": 1}, timeout=SECONDS)
                self.assertEqual(refusal["error"]["code"], "not_in_room")
                self.assertEqual(client.heard, [])

    async def test_a_session_is_recovered_by_hand(self):
        for mode, options in MODES.items():
            with self.subTest(mode):
                room = f"by hand, {mode}"
                speaker = await self.connect(cluster.nodes[0]["url"], transports=["websocket"])
                traveller = await self.connect(cluster.url, **options)
                for client in (speaker, traveller):
                    await self.ok(client, "join", {"room": room})
                for turn in range(3):
                    await self.ok(speaker, "publish", {"room": room, "data": turn})
                await self.eventually("everything is heard", lambda: len(traveller.heard) == 3)
                hello, _ = traveller.hellos[0]
                auth = {"pid": hello["pid"], "offset": traveller.heard[-1][2]}
                # Only the transport ends: `disconnect` of the client itself would end the session.
                await traveller.eio.disconnect()
                for turn in range(3, 10):
                    await self.ok(speaker, "publish", {"room": room, "data": turn})
                back = await self.connect(cluster.nodes[1]["url"], auth=auth, **options)
                await self.ok(speaker, "publish", {"room": room, "data": 10})
                await self.eventually("everything is heard", lambda: len(back.heard) >= 8)
                expected = {"recovered": True, "pid": hello["pid"], "rooms": [room]}
                self.assertEqual([session for session, _ in back.hellos], [expected])
                self.assertEqual([payload["data"] for _, payload, _ in back.heard], list(range(3, 11)))

    async def test_a_burst_and_an_escaped_name(self):
        speaker = await self.connect(cluster.nodes[0]["url"], transports=["websocket"])
        for mode, options in MODES.items():
            with self.subTest(mode):
                room = f"burst, {mode}"
                client = await self.connect(cluster.url, **options)
                escaped = heard_by(client, ("é",))
                for member in (speaker, client):
                    await self.ok(member, "join", {"room": room})
                await self.ok(client, "publish", {"room": room, "event": "é", "data": b"\x00\xff"})
                await self.eventually("it is heard", lambda: escaped)
                self.assertEqual([payload["data"] for _, payload, _ in escaped], [b"\x00\xff"])
                # More at once than the client takes in one answer to a poll.
                for turn in range(100):
                    await speaker.emit("publish", {"room": room, "data": turn})
                await self.eventually("the burst is heard", lambda: len(client.heard) >= 100)
                self.assertEqual([payload["data"] for _, payload, _ in client.heard], list(range(100)))

    async def test_a_node_is_killed_and_the_client_comes_back_by_itself(self):
        room = "tasks, killed"
        speaker = await self.connect(cluster.nodes[0]["url"], transports=["websocket"])
        await self.ok(speaker, "join", {"room": room})
        travellers = {}
        for mode, options in MODES.items():
            client = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
            client.heard = heard_by(client)
            client.hellos = hellos_of(client)
            await client.connect(cluster.nodes[2]["url"], wait_timeout=SECONDS, **options)
            self.addAsyncCleanup(client.disconnect)
            await self.ok(client, "join", {"room": room})
            travellers[mode] = client
        first = (await self.ok(speaker, "publish", {"room": room, "data": "before"}))["offset"]
        for client in travellers.values():
            await self.eventually("it is heard", lambda: len(client.heard) == 1)
        await asyncio.to_thread(cluster.kill_and_start_again, 2, lambda: None)
        for turn in range(50):
            await self.ok(speaker, "publish", {"room": room, "data": turn})
        for mode, client in travellers.items():
            with self.subTest(mode):
                await self.eventually("it is back", lambda: len(client.hellos) == 2 and client.connected)
                ack = await self.ok(client, "join", {"room": room, "after": first})
                self.assertIs(ack["recovered"], True)
                await self.eventually("what it missed is heard", lambda: len(client.heard) == 51)
                self.assertEqual([payload["data"] for _, payload, _ in client.heard], ["before", *range(50)])

    async def test_bytes_stay_bytes(self):
        for mode, options in MODES.items():
            with self.subTest(mode):
                room = f"bytes, {mode}"
                members = await self.members(room, options)
                data = {"name": "picture", "image": bytes(range(256)), "layers": [{"mask": b"\x00\xff"}]}
                await self.ok(members[0], "publish", {"room": room, "data": data})
                await self.ok(members[1], "publish", {"room": room, "data": "without bytes"})
                for member in members:
                    await self.eventually("both are heard", lambda: len(member.heard) >= 2)
                    self.assertEqual([payload["data"] for _, payload, _ in member.heard], [data, "without bytes"])
                    history = await self.ok(member, "history", {"room": room})
                    self.assertEqual(
                        [event["args"][0]["data"] for event in history["events"]], [data, "without bytes"]
                    )


if __name__ == "__main__":
    unittest.main()
