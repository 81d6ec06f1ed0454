// The back ends of the scene in one: who comes in, orders and prices, hooks, jobs, and an issuer's keys. It can fail.

import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const KEYS = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'ES256', use: 'sig' }] };

export class BackEnd {
  #server;
  #fails = false;

  static async start() {
    const backEnd = new BackEnd();
    backEnd.#server = createServer((request, response) => backEnd.#answer(request, response));
    backEnd.#server.listen(0, '127.0.0.1');
    await once(backEnd.#server, 'listening');
    return backEnd;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Whether everything but who comes in fails from now on. */
  fail(fails) {
    this.#fails = fails;
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request, response) {
    const body = Buffer.concat(await request.toArray()).toString();
    const say = (status, what) => response.writeHead(status, { 'content-type': 'application/json' }).end(what && JSON.stringify(what));
    const asked = request.url.slice(1);
    if (asked === 'entry') return say(200, { allow: !JSON.parse(body).user?.startsWith('stranger') });
    // It is not there, or takes its time about it.
    if (this.#fails) {
      if (Math.random() < 0.3) await delay(1500);
      return say(503);
    }
    await delay(5 + Math.random() * 40);
    switch (asked) {
      case 'keys':
        return say(200, KEYS);
      case 'orders':
        return Math.random() < 0.1 ? say(409, { message: 'sold out' }) : say(200, { ok: true });
      case 'price':
        return say(200, { price: 7 });
      case 'legacy':
        // It does not know what it is told.
        return say(422);
      case 'jobs':
        return say(Math.random() < 0.05 ? 422 : 204);
      default:
        return say(204);
    }
  }
}
