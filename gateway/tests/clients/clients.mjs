// The official JavaScript client as the tests use it: connecting, asking, and remembering what was heard.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { io } from 'socket.io-client';

/**
 * How clients may be set up. In Node.js the client keeps a load balancer's cookie only when told to; browsers keep it by
 * themselves, on pages of the same origin.
 */
export const MODES = {
  'default transports': { withCredentials: true },
  'websocket only': { transports: ['websocket'] },
  'polling only': { transports: ['polling'], withCredentials: true },
};

const open = new Set();

/** Ends every client of this test file. */
export function closeClients() {
  for (const socket of open) socket.disconnect();
  open.clear();
}

/** A client that has not tried to connect yet; `library` is the `io` of another version. */
export function client(url, { library = io, ...options } = {}) {
  const socket = library(url, { forceNew: true, autoConnect: false, ...options });
  open.add(socket);
  return socket;
}

/** A connected client on the transport where it will stay; its first failure is the test's. */
export async function connect(url, options = {}) {
  const socket = client(url, options);
  await settle(socket, options);
  return socket;
}

/** The same with an inbox that misses nothing, not even what comes with the connection, and in the rooms. */
export async function member(url, options = {}, ...rooms) {
  const socket = client(url, options);
  const inbox = new Inbox(socket);
  await settle(socket, options);
  for (const room of rooms) await ok(socket, 'join', { room });
  return { socket, inbox };
}

/** Connects a client, up to the transport where it will stay. */
export async function settle(socket, options = {}) {
  await new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', reject);
    socket.connect();
  });
  socket.removeAllListeners('connect_error');
  if (!options.transports && socket.io.engine.transport.name !== 'websocket') {
    await once(socket.io.engine, 'upgrade', { signal: AbortSignal.timeout(10_000) });
  }
}

/** The message and the client's own verdict (`active`: it will try again) when it may not come in. */
export async function connectError(url, options = {}) {
  const socket = client(url, options);
  try {
    const error = await new Promise((resolve, reject) => {
      socket.once('connect_error', resolve);
      socket.once('connect', () => reject(new Error('it was let in')));
      socket.connect();
    });
    return { message: error.message, triesAgain: socket.active };
  } finally {
    socket.disconnect();
  }
}

/** Emits and returns the acknowledgement. */
export function ask(socket, event, ...args) {
  if (socket.timeout) return socket.timeout(15_000).emitWithAck(event, ...args);
  // Version 3 of the client knows neither.
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('operation has timed out')), 15_000);
    socket.emit(event, ...args, (answer) => {
      clearTimeout(late);
      resolve(answer);
    });
  });
}

/** Emits what must be done, and returns the acknowledgement. */
export async function ok(socket, event, ...args) {
  const ack = await ask(socket, event, ...args);
  assert.equal(ack?.ok, true, `${event} ${describe(args)} was refused: ${describe(ack)}`);
  return ack;
}

/** Emits what must be refused, and returns the error. */
export async function refused(socket, event, ...args) {
  const ack = await ask(socket, event, ...args);
  return refusal(ack, `${event} ${describe(args)}`);
}

/** The error of a refusal, whose shape is the same in an acknowledgement and in a `refused` event. */
export function refusal(answer, what) {
  assert.equal(answer?.ok, false, `${what} was not refused: ${describe(answer)}`);
  assert.deepEqual(Object.keys(answer).sort(), ['error', 'ok']);
  assert.equal(typeof answer.error.code, 'string');
  assert.equal(typeof answer.error.message, 'string');
  assert.notEqual(answer.error.message, '');
  return answer.error;
}

/** Everything that a client hears in rooms from now on, what the gateway itself tells it, and every disconnect. */
export class Inbox {
  heard = [];
  notices = [];
  disconnects = [];

  constructor(socket) {
    socket.onAny((event, payload, offset, ...rest) => {
      if (event.startsWith('gateway:')) this.notices.push({ event, payload, offset });
      else if (typeof payload?.room === 'string') this.heard.push({ event, payload, offset, rest });
    });
    socket.on('disconnect', (reason) => this.disconnects.push(reason));
  }

  /** The data of what was heard in a room, in the order of hearing. */
  data(room) {
    return this.heard.filter(({ payload }) => payload.room === room).map(({ payload }) => payload.data);
  }

  /** What the gateway said about the session, once for every connection. */
  hellos() {
    return this.notices.filter(({ event }) => event === 'gateway:session').map(({ payload }) => payload);
  }

  /** The offsets of the published events that were heard, over all rooms. */
  offsets() {
    return this.heard.filter(({ offset }) => typeof offset === 'string').map(({ offset }) => offset);
  }
}

/**
 * A member of a room as applications write it: whenever it is connected anew and the gateway has not recovered its
 * session, it joins again and asks for what came after the last event that it heard. `joined` settles with the last
 * of these joins.
 */
export async function faithfulMember(url, options, room) {
  const { socket, inbox } = await member(url, options, room);
  const faithful = { socket, inbox, joined: Promise.resolve() };
  socket.on('connect', () => {
    if (socket.recovered) return;
    faithful.joined = ok(socket, 'join', { room, after: inbox.offsets().at(-1) });
    // Its failure is reported where the test awaits it.
    faithful.joined.catch(() => {});
  });
  return faithful;
}

/** Fails unless the offsets are decimal strings, each larger than the one before. */
export function assertIncreasing(offsets, who) {
  offsets.forEach((offset, index) => {
    assert.match(offset, /^[1-9][0-9]*$/, who);
    if (index > 0) {
      const before = offsets[index - 1];
      assert.ok(BigInt(offset) > BigInt(before), `${who} heard ${offset} after ${before}`);
    }
  });
}

/** For sorting offsets: they are numbers of any size in strings. */
export function byOffset(a, b) {
  const difference = BigInt(a) - BigInt(b);
  return difference < 0n ? -1 : Number(difference > 0n);
}

function describe(value) {
  return (JSON.stringify(value) ?? String(value)).slice(0, 200);
}
