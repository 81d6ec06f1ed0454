// The clients of the scene: official ones, that talk in rooms, ask for this and that, and come back when they are cut off.

import { createHmac } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { io } from '../../gateway/tests/clients/node_modules/socket.io-client/build/esm/index.js';

export const SECRET = 'a secret that signs the tokens of the scene';
const ROOMS = 24;

const coded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const oneOf = (list) => list[Math.floor(Math.random() * list.length)];

export class Crowd {
  #url;
  #sockets = [];
  #over = new AbortController();

  constructor(url) {
    this.#url = url;
    // All of them wait for it.
    setMaxListeners(0, this.#over.signal);
  }

  /** A token of a user, good for an hour. */
  token(user) {
    const said = `${coded({ alg: 'HS256', typ: 'JWT' })}.${coded({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600, email: `${user}@example.test` })}`;
    return `${said}.${createHmac('sha256', SECRET).update(said).digest('base64url')}`;
  }

  /** So many come within ten seconds and stay; a few cannot come in. */
  async come(many) {
    for (let number = 0; number < many; number++) {
      this.#member(number);
      await this.#pause(10_000 / many);
    }
    this.#visits();
    this.#strangers();
  }

  /** Somebody sends as fast as it can. */
  async flood(milliseconds) {
    const socket = this.#socket('flooder', { transports: ['websocket'] });
    const end = Date.now() + milliseconds;
    await new Promise((resolve) => socket.once('connect', resolve));
    await socket.emitWithAck('join', { room: 'chat-0' });
    while (Date.now() < end && !this.#over.signal.aborted) {
      for (let at = 0; at < 12 && socket.connected; at++) {
        socket.emit('signal', { room: 'chat-0', event: 'x', data: at });
        socket.emit('publish', { room: 'chat-0', data: 'x'.repeat(2000) });
        socket.emit('mention', { whom: 'user-1', text: 'Look at me' });
      }
      await this.#pause(50);
    }
    socket.disconnect();
  }

  async stop() {
    this.#over.abort();
    for (const socket of this.#sockets) socket.disconnect();
  }

  #socket(user, options = {}) {
    const socket = io(this.#url, { forceNew: true, withCredentials: true, auth: { token: this.token(user) }, ...options });
    socket.on('question', (_, answer) => answer?.({ yes: true }));
    this.#sockets.push(socket);
    return socket;
  }

  async #pause(milliseconds) {
    await delay(milliseconds, undefined, { signal: this.#over.signal }).catch(() => {});
  }

  #member(number) {
    const ways = [{ transports: ['websocket'] }, {}, { transports: ['websocket'] }, { transports: ['polling'] }];
    const socket = this.#socket(`user-${number % 90}`, number % 12 === 3 ? ways[3] : ways[number % 3]);
    const rooms = [`chat-${number % ROOMS}`, `chat-${(number * 7) % ROOMS}`];
    socket.on('connect', () => {
      if (!socket.recovered) for (const room of rooms) socket.emit('join', { room });
    });
    this.#talk(socket, rooms, number);
  }

  async #talk(socket, rooms, number) {
    while (!this.#over.signal.aborted) {
      await this.#pause(2000 + Math.random() * 5000);
      if (!socket.connected) continue;
      const room = oneOf(rooms);
      // What is not answered in time, as while Redis is away, is not said again.
      const ask = (event, arg) => socket.timeout(5000).emit(event, arg, () => {});
      const dice = Math.random();
      if (dice < 0.5) ask('publish', { room, data: { text: 'Hello, everybody. '.repeat(1 + Math.floor(Math.random() * 8)) } });
      else if (dice < 0.6) ask('order', { item: number });
      else if (dice < 0.72) ask('price', { of: number % 5 });
      else if (dice < 0.8) ask('typing', { room, typing: true });
      else if (dice < 0.85) ask('history', { room, limit: 20 });
      else if (dice < 0.88) ask('presence', { room });
      else if (dice < 0.93) ask('mention', { whom: `user-${Math.floor(Math.random() * 100)}`, text: 'Look at this' });
      else if (dice < 0.96) ask('later', { room });
      else if (dice < 0.98) ask('notifications', {});
      else ask('nobody knows this', {});
    }
  }

  /** Some come for a while, talk, and go; some of them vanish without a word. */
  async #visits() {
    for (let number = 200; !this.#over.signal.aborted; number++) {
      const socket = this.#socket(`user-${number % 120}`, number % 2 ? {} : { transports: ['websocket'] });
      socket.once('connect', () => socket.emit('join', { room: `chat-${number % ROOMS}` }));
      const stays = 4000 + Math.random() * 12_000;
      delay(stays).then(() => {
        // A connection that breaks comes back; who says goodbye does not.
        if (number % 3 === 0) socket.io.engine?.close();
        delay(4000).then(() => socket.disconnect());
      });
      await this.#pause(700);
    }
  }

  /** Some may not come in: they have a token that is none, or the back end does not want them. */
  async #strangers() {
    for (let number = 0; !this.#over.signal.aborted; number++) {
      const auth = { token: number % 2 ? 'this is none' : this.token(`stranger-${number}`) };
      const socket = io(this.#url, { forceNew: true, withCredentials: true, reconnection: false, transports: ['websocket'], auth });
      socket.on('connect_error', () => socket.disconnect());
      this.#sockets.push(socket);
      await this.#pause(3000);
    }
  }
}
