#!/usr/bin/env node
// The gateway's join and publish on npm's socket.io, for deploy/local/cluster.sh to start in place of the gateway.

import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const { GATEWAY_LISTEN, GATEWAY_ADMIN_LISTEN, GATEWAY_REDIS_URL, PEER_RECOVERY } = process.env;
const portOf = (address) => Number(address.slice(address.lastIndexOf(':') + 1));

const redis = createClient({ url: GATEWAY_REDIS_URL });
await redis.connect();
const recovery = PEER_RECOVERY ? { connectionStateRecovery: {} } : {};
const io = new Server({ adapter: createAdapter(redis), ...recovery });
io.on('connection', (socket) => {
  socket.on('join', async ({ room }, ack) => {
    await socket.join(room);
    ack({ ok: true });
  });
  socket.on('publish', ({ room, data }, ack) => {
    io.to(room).emit('message', { room, data });
    ack({ ok: true });
  });
});
io.listen(createServer().listen(portOf(GATEWAY_LISTEN), '127.0.0.1'));
// Its readiness, for the load balancer.
createServer((_, response) => response.end('ready\n')).listen(portOf(GATEWAY_ADMIN_LISTEN), '127.0.0.1');
