// What the tests of dialects share: where a front end may be connected, and a client that remembers all it hears.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe } from 'node:test';

import { ask, client, closeClients, MODES, settle } from './clients.mjs';
import { FerretDb, newDatabase, Postgres, stopDatabases } from './databases.mjs';
import { eventually, request, startCluster, startNode } from './harness.mjs';

const PLACES = { 'one embedded node': startNode, 'three nodes': startCluster };

/**
 * Defines tests twice: for one embedded node and for three nodes, with the profile, the settings and nothing else.
 * `define` is given an object whose `cluster` is there once the tests run.
 */
export function everywhere(profile, settings, define) {
  for (const [name, start] of Object.entries(PLACES)) {
    at(`${profile}, ${name}`, () => start({ GATEWAY_PROFILE: profile, ...settings }), define);
  }
}

/** Where there is a database: one node has a file by itself. */
const KEPT = [
  ['one node, SQLite', startNode],
  ['one node, PostgreSQL', startNode, Postgres],
  ['one node, FerretDB', startNode, FerretDb],
  ['three nodes, PostgreSQL', startCluster, Postgres],
  ['three nodes, FerretDB', startCluster, FerretDb],
];

/** Defines tests for one embedded node and for three nodes over each kind of database, as `everywhere` does. */
export function whereItIsKept(profile, settings, define) {
  describe(`${profile} with a database`, () => {
    after(stopDatabases);
    for (const [turn, [name, start, kind]] of KEPT.entries()) {
      const begin = async () => {
        const database = kind ? await newDatabase(kind, `place_${turn}`) : {};
        return start({ GATEWAY_PROFILE: profile, ...database, ...settings });
      };
      at(name, begin, define);
    }
  });
}

function at(name, start, define) {
  // Whoever runs several of these at once does not mean the tests of one.
  describe(name, { timeout: 180_000, concurrency: 1 }, () => {
    const place = {};
    before(async () => {
      place.cluster = await start();
    });
    afterEach(() => closeClients());
    after(() => place.cluster?.stop());
    define(place);
  });
}

/** Ends all nodes without a word and starts them again. */
export async function restartNodes({ cluster }) {
  for (const node of cluster.nodes) cluster.signal(node, 'SIGKILL');
  for (const { name } of cluster.nodes) {
    await cluster.ended(name);
    await cluster.startAgain(name);
  }
  const takes = async () => (await request(`${cluster.url}/haproxy/ready`)).status === 200;
  await eventually('the load balancer has found them', takes);
}

/** The sum of a metric over all nodes. */
export async function inAll({ cluster }, name, labels) {
  const values = await Promise.all(cluster.nodes.map((node) => cluster.metric(node, name, labels)));
  return values.reduce((sum, value) => sum + value, 0);
}

/** The official client as an application sets it up, and everything that it hears from before it connects. */
export class FrontEnd {
  heard = [];
  disconnects = 0;
  /** When it was connected for the first time, in milliseconds. */
  connectedAt;
  #options;

  constructor(name, url, options = {}) {
    this.name = name;
    this.#options = { ...MODES['default transports'], ...options };
    this.socket = client(url, this.#options);
    this.listen(this.socket);
  }

  listen(socket) {
    socket.once('connect', () => (this.connectedAt = Date.now()));
    socket.on('disconnect', () => (this.disconnects += 1));
    socket.onAny((event, ...args) => {
      // What the gateway says about the session; these front ends do not know of it.
      if (!event.startsWith('gateway:')) this.heard.push({ event, args, at: Date.now() });
    });
  }

  async connect() {
    await settle(this.socket, this.#options);
    await this.done();
    return this;
  }

  /** Sends without asking for an acknowledgement, as these front ends do. */
  emit(event, ...args) {
    this.socket.emit(event, ...args);
  }

  /** The arguments of every event of that name, in the order of hearing. */
  of(event) {
    return this.heard.filter((one) => one.event === event).map(({ args }) => args);
  }

  /** Until all that it sent has been handled: a session's events are handled in order. */
  async done() {
    const ack = await ask(this.socket, 'nothing of this dialect');
    assert.equal(ack?.error?.code, 'unknown_event', JSON.stringify(ack));
  }

  /** Hears the event as often as there are expectations, each a list of arguments, and in this order. */
  async hears(event, ...expected) {
    const enough = () => this.of(event).length >= expected.length;
    await eventually(`${this.name} hears ${event} ${expected.length} times`, enough);
    this.heardJust(event, ...expected);
  }

  /** Has heard the event so far with just these arguments. */
  heardJust(event, ...expected) {
    const heard = this.of(event).map((args, turn) => declared(args, expected[turn]?.length ?? args.length));
    assert.deepEqual(heard, expected, `${event} at ${this.name}`);
  }

  /** Was never told that it did something wrong. */
  wasNeverRefused() {
    assert.deepEqual(this.of('refused'), [], this.name);
  }
}

/**
 * What a handler with `count` parameters sees. An offset may follow, or null in its place; and null after an offset, where
 * a room is replayed.
 */
export function declared(args, count) {
  const extra = args.slice(count);
  const isOffset = (value) => value === null || /^[0-9.]+$/.test(value);
  const fits = extra.length <= 1 || (extra.length === 2 && extra[1] === null);
  assert.ok(fits && extra.every(isOffset), `more than was declared: ${JSON.stringify(args)}`);
  return args.slice(0, count);
}

/** Where the next client goes: through the load balancer, then to each node, and so on. */
export function urlOf({ cluster }, turn) {
  const urls = [cluster.url, ...cluster.nodes.map(({ url }) => url)];
  return urls[turn % urls.length];
}

/** So many connected front ends, at the load balancer and at every node. */
export function frontEnds(place, count, optionsOf = () => ({}), path = '') {
  const turns = Array.from({ length: count }, (_, turn) => turn);
  return Promise.all(
    turns.map((turn) => new FrontEnd(`client ${turn}`, `${urlOf(place, turn)}${path}`, optionsOf(turn)).connect()),
  );
}

/** All of them, at the same time. */
export function each(people, act) {
  return Promise.all(people.map(act));
}
