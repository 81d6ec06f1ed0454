// A back end of the scene that emits through Redis, as Socket.IO's emitter for Node does.

import { setTimeout as delay } from 'node:timers/promises';

import { Emitter } from '../../gateway/tests/clients/node_modules/@socket.io/redis-emitter/dist/index.js';
import { createClient } from '../../gateway/tests/clients/node_modules/redis/dist/index.js';

/** Emits until it is stopped. */
export async function emitAlways(port) {
  const over = new AbortController();
  const redis = createClient({ url: `redis://127.0.0.1:${port}`, disableOfflineQueue: true });
  // It is away for a while in the scene, and connects again by itself.
  redis.on('error', () => {});
  await redis.connect();
  // What is on its way when Redis dies is lost, and nobody's fault.
  const io = new Emitter({ publish: (...what) => redis.publish(...what).catch(() => {}) });

  async function go() {
    for (let number = 0; !over.signal.aborted; number++) {
      if (redis.isReady) {
        io.to(`chat-${number % 24}`).emit('news', { number });
        if (number % 10 === 0) io.serverSideEmit('nobody hears this', number);
      }
      await delay(250, undefined, { signal: over.signal }).catch(() => {});
    }
  }

  const running = go();
  return {
    async stop() {
      over.abort();
      await running;
      await redis.close();
    },
  };
}
