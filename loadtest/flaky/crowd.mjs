// Who takes part: clients whose network fails, spread over processes, and one whose does not.

import { fork } from 'node:child_process';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { io } from 'socket.io-client';

import { eventually } from '../../gateway/tests/clients/harness.mjs';

/** The clients. */
export class Crowd {
  #workers = [];
  #clients;
  #asked = 0;

  static async start({ clients, workers, connectsPerSecond, ...where }) {
    const crowd = new Crowd();
    crowd.#clients = clients;
    const share = Math.ceil(clients / workers);
    for (let from = 0; from < clients; from += share) {
      const worker = fork(path.join(import.meta.dirname, 'members.mjs'));
      worker.waiting = new Map();
      worker.on('message', ({ id, result }) => {
        worker.waiting.get(id)(result);
        worker.waiting.delete(id);
      });
      crowd.#workers.push({ worker, from, count: Math.min(share, clients - from) });
    }
    const perSecond = connectsPerSecond / crowd.#workers.length;
    await crowd.#all('start', ({ from, count }) => ({ ...where, from, count, perSecond }));
    await crowd.settled();
    return crowd;
  }

  /** Everybody is connected, in the room, and on the transport where it will stay. */
  settled() {
    return this.#everybody('settled');
  }

  /** Everybody heard the end; who never will has lost it. */
  finished() {
    return this.#everybody('finished').catch(() => {});
  }

  /** Where everybody connects the next time. */
  moveTo(url) {
    return this.#all('moveTo', () => ({ url }));
  }

  /** From now on everybody's connection is cut time and again, and nobody gets one before the cut is over. */
  fail(every, lasting) {
    return this.#all('fail', () => ({ every, lasting }));
  }

  stopFailing() {
    return this.#all('stopFailing');
  }

  /** What everybody heard of the events, of which there were `counts` by room. */
  async audit(counts) {
    return (await this.#all('audit', () => ({ counts }))).flat();
  }

  stop() {
    for (const { worker } of this.#workers) worker.disconnect();
  }

  #everybody(what) {
    return eventually(`all are ${what}`, async () => {
      const counts = await this.#all(what);
      const sum = counts.reduce((one, other) => one + other, 0);
      if (sum < this.#clients) throw new Error(`${sum} of ${this.#clients}`);
      return true;
    }, 60_000);
  }

  #all(order, bodyFor = () => undefined) {
    return Promise.all(this.#workers.map(({ worker, ...share }) => new Promise((resolve) => {
      const id = ++this.#asked;
      worker.waiting.set(id, resolve);
      worker.send({ id, order, body: bodyFor(share) });
    })));
  }
}

/** Publishes numbered events in every room at a steady pace, each until it is acknowledged, and is itself not cut. */
export class Speaker {
  /** How many events there are, by room. */
  counts = {};
  #socket;
  #over = false;
  #work;

  static async start({ url, rooms: count, eventsPerSecond }) {
    const speaker = new Speaker();
    speaker.#socket = io(url, { transports: ['websocket'] });
    const rooms = Array.from({ length: count }, (_, index) => `room ${index}`);
    for (const room of rooms) await speaker.#ask('join', { room });
    const pace = 1_000 / eventsPerSecond;
    speaker.#work = Promise.all(rooms.map(async (room, index) => {
      let due = performance.now() + (pace * index) / count;
      for (speaker.counts[room] = 0; !speaker.#over; speaker.counts[room]++) {
        await delay(Math.max(0, due - performance.now()));
        due += pace;
        await speaker.#publish(room, speaker.counts[room]);
      }
    }));
    return speaker;
  }

  /** The last word in every room, behind which nothing comes. */
  async end() {
    this.#over = true;
    await this.#work;
    for (const room of Object.keys(this.counts)) await this.#publish(room, 'the end');
  }

  stop() {
    this.#over = true;
    this.#socket.disconnect();
  }

  async #publish(room, data) {
    const body = { room, data, id: `${room}, ${data}` };
    while (!(await this.#ask('publish', body)).ok) await this.#ask('join', { room });
  }

  async #ask(event, body) {
    while (this.#socket.active) {
      const ack = await this.#socket.timeout(2_000).emitWithAck(event, body).catch(() => undefined);
      if (ack) return ack;
    }
    throw new Error(`nobody answers: ${event}`);
  }
}
