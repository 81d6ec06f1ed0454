// The official client of Socket.IO 2: it is not served, and is told so in the words of its own protocol.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import io from 'socket.io-client-2';

import { eventually, startNode } from './harness.mjs';

let node;
before(async () => (node = await startNode()));
after(() => node?.stop());

/** What a client hears until it gives up by itself. */
async function heardBy(options, path = '') {
  const socket = io(node.url + path, { forceNew: true, reconnection: false, ...options });
  const heard = { errors: [], failures: 0, connects: 0, ends: 0 };
  socket.on('error', (error) => heard.errors.push(error));
  socket.on('connect_error', () => (heard.failures += 1));
  socket.on('connect', () => (heard.connects += 1));
  socket.on('disconnect', () => (heard.ends += 1));
  socket.io.on('close', () => (heard.ends += 1));
  try {
    await eventually('it is over', () => heard.failures + heard.ends > 0);
  } finally {
    socket.close();
  }
  return heard;
}

for (const path of ['', '/news']) {
  test(`a websocket is told what to do in ${path || '/'}`, { timeout: 30_000 }, async () => {
    const { errors } = await heardBy({ transports: ['websocket'] }, path);
    assert.equal(errors.length, 1);
    assert.match(errors[0], /^This server speaks Socket\.IO 3 and 4 .*upgrade/);
  });
}

test('long-polling is refused as Socket.IO itself does', { timeout: 30_000 }, async () => {
  const { errors, failures, connects } = await heardBy({ transports: ['polling'] });
  assert.deepEqual([errors, failures, connects], [[], 1, 0]);
  const response = await fetch(`${node.url}/socket.io/?EIO=3&transport=polling`);
  assert.equal(response.status, 400);
  assert.deepEqual(await response.json(), { code: 5, message: 'Unsupported protocol version' });
});
