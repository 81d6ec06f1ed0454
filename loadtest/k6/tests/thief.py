#!/usr/bin/env python3
"""A proxy that is no good: of the events that a gateway delivers over websockets it keeps some back, and hands on others twice.

    thief.py http://127.0.0.1:3000 --drop 50 --double 70    every 50th is gone, every 70th comes twice

Prints the address where it listens. What is not a websocket's text frame goes through as it is.
"""

import argparse
import asyncio
import urllib.parse

MESSAGE = b'42["message"'
TEXT = 1  # the frame's opcode


class Thief:
    """Counts what is delivered over all connections."""

    def __init__(self, host, port, drop, double):
        self.host, self.port, self.drop, self.double = host, port, drop, double
        self.seen = 0

    async def serve(self, client, to_client):
        """One connection."""
        server, to_server = await asyncio.open_connection(self.host, self.port)
        both = [asyncio.create_task(self.there(client, to_server)), asyncio.create_task(self.back(server, to_client))]
        # As soon as one side is done, so is the other.
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        for writer in (to_client, to_server):
            writer.close()

    async def there(self, client, to_server):
        """What the client says, untouched."""
        while data := await client.read(65536):
            to_server.write(data)
            await to_server.drain()

    async def back(self, server, to_client):
        """What the gateway says: an answer of HTTP, and frames behind one that changes to a websocket."""
        head = await server.readuntil(b"\r\n\r\n")
        to_client.write(head)
        if not head.startswith(b"HTTP/1.1 101"):
            while data := await server.read(65536):
                to_client.write(data)
                await to_client.drain()
            return
        while True:
            start = await server.readexactly(2)
            length = start[1] & 127
            longer = await server.readexactly({126: 2, 127: 8}.get(length, 0))
            body = await server.readexactly(int.from_bytes(longer, "big") if longer else length)
            for _ in range(self.times(start[0] & 15, body)):
                to_client.write(start + longer + body)
            await to_client.drain()

    def times(self, opcode, body):
        """How often a frame is handed on."""
        if opcode != TEXT or not body.startswith(MESSAGE):
            return 1
        self.seen += 1
        if self.drop and self.seen % self.drop == 0:
            return 0
        return 2 if self.double and self.seen % self.double == 0 else 1


async def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("url")
    options.add_argument("--drop", type=int, default=0)
    options.add_argument("--double", type=int, default=0)
    given = options.parse_args()
    url = urllib.parse.urlsplit(given.url)
    thief = Thief(url.hostname, url.port, given.drop, given.double)
    server = await asyncio.start_server(thief.serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
