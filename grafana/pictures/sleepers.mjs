// Clients of the scene that come back for much, all at once, and do not read it: replays wait for each other, and some are put off.

import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { WebSocket } from '../../gateway/tests/clients/node_modules/ws/wrapper.mjs';

const SLEEPERS = 48;
const EVENTS = 990; // a room keeps a thousand
const BYTES = 3900;
const ROOM = 'chat-heavy';

/** Says much in a room, then has as many come back as if they had missed all of it. They sleep for so many seconds. */
export async function sleep(node, token, publish, seconds) {
  const { offset } = JSON.parse(await publish(ROOM, 0));
  for (let said = 0; said < EVENTS; said += 30) {
    await Promise.all(Array.from({ length: 30 }, () => publish(ROOM, 'x'.repeat(BYTES))));
  }
  const sleepers = Array.from({ length: SLEEPERS }, (_, number) => {
    const socket = new WebSocket(`${node.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    socket.on('error', () => {});
    once(socket, 'open').then(() => {
      socket.send(`40${JSON.stringify({ token: token(`sleeper-${number}`), offsets: { [ROOM]: offset } })}`);
      socket.pause();
    }, () => {});
    return socket;
  });
  await delay(seconds * 1000);
  for (const socket of sleepers) socket.terminate();
}
