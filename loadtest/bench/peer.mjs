// The gateway's join and publish on npm's socket.io: what the gateway is compared with. One process by itself, or with
// PEER_REDIS_URL one of several with @socket.io/redis-adapter.

import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const url = process.env.PEER_REDIS_URL;
const options = {};
if (url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  options.adapter = createAdapter(publisher, subscriber);
}
const io = new Server(options);

// swarm tells publishes apart by their offsets. Microseconds, as the gateway's are, so that events are as long.
let last = 0;
const nextOffset = () => String((last = Math.max(last + 1, Date.now() * 1_000)));

io.on('connection', (socket) => {
  socket.on('join', async ({ room }, ack) => {
    await socket.join(room);
    ack({ ok: true, room, offset: String(last) });
  });
  socket.on('publish', ({ room, data }, ack) => {
    const offset = nextOffset();
    io.to(room).emit('message', { room, user: null, data, at: Date.now() }, offset);
    ack({ ok: true, offset });
  });
});

// The backlog as the gateway asks for it: Node's own would be 511.
const server = createServer();
io.attach(server);
server.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 }, () => {
  console.log(JSON.stringify({ address: `127.0.0.1:${server.address().port}` }));
});
