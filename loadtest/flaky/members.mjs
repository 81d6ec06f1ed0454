// Some of the clients, in a process of their own; each behind a proxy of its own, so that each fails by itself.

import { setTimeout as delay } from 'node:timers/promises';
import { io } from 'socket.io-client';

import { Proxy } from '../../gateway/tests/clients/proxy.mjs';

// Half of them as browsers are by default, half as people set them up who know that websockets work.
const TRANSPORTS = [{ withCredentials: true }, { transports: ['websocket'] }];

/** Between half and one and a half times as much, so that clients do not fail in step. */
const about = (milliseconds) => milliseconds * (0.5 + Math.random());

class Member {
  ready = false;
  connects = 0;
  recovered = 0;
  /** When it was last connected and in its room. */
  since = 0;
  /** Whether each event was heard, by number. */
  #heard = [];
  #highest = -1;
  #doubled = 0;
  #reordered = 0;
  #ended = false;
  #offset;
  #proxy;
  #socket;
  #room;

  static async start(index, { url, rooms }) {
    const member = new Member();
    member.#room = `room ${index % rooms}`;
    member.#proxy = await Proxy.start(url);
    const transports = TRANSPORTS[Math.floor(index / rooms) % TRANSPORTS.length];
    member.#socket = io(member.#proxy.url, { forceNew: true, ...transports });
    member.#socket.on('message', (event, offset) => member.#hear(event, offset));
    member.#socket.on('connect', () => member.#enter());
    member.#socket.on('disconnect', () => (member.ready = false));
    return member;
  }

  /** Connected, in the room, and on the transport where it will stay. */
  get settled() {
    return this.ready && this.#socket.io.engine.transport.name === 'websocket';
  }

  get finished() {
    return this.#ended;
  }

  get room() {
    return this.#room;
  }

  moveTo(url) {
    this.#proxy.target = url;
  }

  async failFor(milliseconds) {
    this.#proxy.refusing = true;
    this.#proxy.cut();
    await delay(milliseconds);
    this.#proxy.refusing = false;
  }

  /** The figures of an audit in which `count` events were published. */
  audit(count) {
    const heard = this.#heard.slice(0, count).filter(Boolean).length;
    return {
      expected: count,
      lost: count - heard,
      doubled: this.#doubled,
      reordered: this.#reordered,
      reconnects: this.connects - 1,
      recovered: this.recovered,
      since: this.since,
    };
  }

  /** What applications do: a session that is not recovered joins again, and names the last offset that it knows. */
  async #enter() {
    const socket = this.#socket;
    const connection = ++this.connects;
    if (socket.recovered) {
      this.recovered++;
    } else {
      const body = { room: this.#room, ...(this.#offset && { after: this.#offset }) };
      const ack = await socket.timeout(10_000).emitWithAck('join', body).catch(() => undefined);
      if (connection !== this.connects || !socket.connected) return;
      // Its transport works, so the server is at fault; a new connection is what a page reload would be.
      if (!ack?.ok) return socket.io.engine.close();
      this.#offset ??= ack.offset;
    }
    this.since = Date.now();
    this.ready = true;
  }

  #hear({ data }, offset) {
    if (offset) this.#offset = offset;
    if (data === 'the end') return (this.#ended = true);
    if (this.#heard[data]) {
      this.#doubled++;
      return;
    }
    if (data < this.#highest) this.#reordered++;
    this.#heard[data] = true;
    this.#highest = Math.max(this.#highest, data);
  }
}

const members = [];
let failing = false;

const orders = {
  async start({ from, count, perSecond, ...where }) {
    for (let index = from; index < from + count; index++) {
      members.push(await Member.start(index, where));
      await delay(1_000 / perSecond);
    }
  },
  settled: () => members.filter((member) => member.settled).length,
  moveTo({ url }) {
    for (const member of members) member.moveTo(url);
  },
  fail({ every, lasting }) {
    failing = true;
    for (const member of members) {
      (async () => {
        await delay(Math.random() * every);
        while (failing) {
          await member.failFor(about(lasting));
          await delay(about(every));
        }
      })();
    }
  },
  stopFailing: () => void (failing = false),
  finished: () => members.filter((member) => member.finished).length,
  audit: ({ counts }) => members.map((member) => member.audit(counts[member.room])),
};

process.on('message', async ({ id, order, body }) => {
  const result = await orders[order](body);
  process.send({ id, result });
});
process.on('disconnect', () => process.exit());
