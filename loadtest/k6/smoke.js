// Smoke test: one virtual user walks every verb of the native profile with five sockets in two rooms, and k6
// exits non-zero if anything is not as promised.
//
//   k6 run smoke.js                                   a gateway at http://127.0.0.1:3000
//   k6 run -e URL=http://127.0.0.1:8080 smoke.js      a cluster behind its load balancer
//   k6 run -e TOKEN=eyJ... smoke.js                   where auth.secret is set
import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { Socket } from './lib/socketio.js';

const URL = __ENV.URL || 'http://127.0.0.1:3000';
const AUTH = __ENV.TOKEN ? { token: __ENV.TOKEN } : undefined;
const EVENTS_PER_PUBLISHER = 10; // far below limits.events_burst, so that no rate limit can blur the picture
const PATIENCE_MS = 3000; // for what should take milliseconds
const SETTLE_MS = 300; // how long a duplicate or a stray event gets to show up

// A threshold over a metric without samples would pass if nothing ran at all; reaching the end is a sample.
const completed = new Counter('smoke_completed');

export const options = {
  scenarios: {
    smoke: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '12s', gracefulStop: '1s' },
  },
  thresholds: {
    smoke_completed: ['count==1'],
    checks: ['rate==1'],
    sio_connect_success: ['rate==1'],
    sio_ack_success: ['rate==1'],
    'sio_errors{kind:protocol}': ['count==0'],
    'sio_errors{kind:transport}': ['count==0'],
    'sio_disconnects{reason:io_server_disconnect}': ['count==0'],
    'sio_disconnects{reason:transport_close}': ['count==0'],
    'sio_disconnects{reason:ping_timeout}': ['count==0'],
  },
};

export default async function () {
  const members = [];
  try {
    await walk(members);
    completed.add(1);
  } finally {
    // An open socket keeps the iteration alive, also after a failed step.
    for (const member of members) member.socket.close();
  }
}

async function walk(members) {
  // Names of this run alone, so that runs do not hear each other and history starts empty.
  const run = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  const red = `smoke-red-${run}`;
  const blue = `smoke-blue-${run}`;

  for (const name of ['ann', 'ben', 'cat', 'dan', 'eve']) members.push(new Member(name));
  await Promise.all(members.map((member) => member.socket.ready()));
  const [ann, ben, cat, dan, eve] = members;

  // --- join ---
  const joined = await Promise.all([ann, ben, cat, dan].map((member) => member.socket.request('join', { room: red })));
  await Promise.all([dan, eve].map((member) => member.socket.request('join', { room: blue })));
  check(joined, {
    'join is acked with the room and an offset': (acks) => acks.every((ack) =>
      ack.ok === true && ack.room === red && isOffset(ack.offset)),
  });
  const start = joined[0].offset;

  // --- publish: two publishers at once, none waiting for acks; and another room beside it ---
  const published = [];
  for (let n = 0; n < EVENTS_PER_PUBLISHER; n++) {
    for (const member of [ann, ben]) published.push(publish(member, red, `${member.name}-${n}`));
  }
  const aside = await publish(eve, blue, 'aside');
  const acks = await Promise.all(published);
  check(acks, {
    'publish is acked with an offset': (all) => all.every(({ ack }) => ack.ok === true && isOffset(ack.offset)),
  });
  // Cat joined before any of this was published and stays to the end: what she hears is the yardstick.
  await until(() => [ann, ben, cat, dan].every((member) => member.heard(red).length >= acks.length)
    && dan.heard(blue).length > 0);
  await pause(SETTLE_MS);
  check(members, {
    'every member hears every event exactly once': () => [ann, ben, cat, dan].every((member) =>
      same(member.heard(red).map(({ data }) => data).sort(), acks.map(({ data }) => data).sort())),
    'all members hear the same order': () => [ann, ben, dan].every((member) =>
      same(member.heard(red).map(({ data }) => data), cat.heard(red).map(({ data }) => data))),
    'offsets rise': () => rising(cat.heard(red).map(({ offset }) => offset)),
    'the order of each publisher is kept': () => ['ann', 'ben'].every((name) =>
      same(cat.heard(red).map(({ data }) => data).filter((data) => data.startsWith(name)),
        acks.map(({ data }) => data).filter((data) => data.startsWith(name)))),
    'members hear the offset that the publisher was acked': () => acks.every(({ data, ack }) =>
      cat.heard(red).some((event) => event.data === data && event.offset === ack.offset)),
    'events tell their room, their time and their sender': () => cat.heard(red).every((event) =>
      event.room === red && Number.isFinite(event.at) && 'user' in event),
    'rooms are apart': () => eve.heard(red).length === 0
      && [ann, ben, cat].every((member) => member.heard(blue).length === 0),
    'a session hears each of its rooms': () => [dan, eve].every((member) =>
      same(member.heard(blue).map(({ offset }) => offset), [aside.ack.offset])),
  });

  // --- publish: another event name, and the same id twice ---
  const first = await ann.socket.request('publish', { room: red, event: 'note', data: 'once', id: 'smoke-1' });
  const again = await ann.socket.request('publish', { room: red, event: 'note', data: 'once', id: 'smoke-1' });
  await until(() => [ann, ben, cat, dan].every((member) => member.notes.length >= 1));
  await pause(SETTLE_MS);
  check(again, {
    'the same id is acked with the first offset': (ack) => ack.ok === true && ack.offset === first.offset,
    'the same id is heard once, under its event name': () => [ann, ben, cat, dan].every((member) =>
      member.notes.length === 1 && member.notes[0].offset === first.offset),
  });

  // --- publish: binary ---
  const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
  const parts = [bytes, bytes.subarray(250)];
  const binary = await ben.socket.request('publish', { room: red, data: { label: 'bytes', parts } });
  await until(() => [ann, ben, cat, dan].every((member) => member.heard(red).length > acks.length));
  check(binary, {
    'binary is acked': (ack) => ack.ok === true && isOffset(ack.offset),
    'binary arrives byte for byte': (ack) => [ann, ben, cat, dan].every((member) => {
      const event = member.heard(red).find(({ offset }) => offset === ack.offset);
      return event !== undefined && event.data.label === 'bytes' && event.data.parts.length === 2
        && same(view(event.data.parts[0]), Array.from(bytes))
        && same(view(event.data.parts[1]), [250, 251, 252, 253, 254, 255]);
    }),
  });

  // --- signal ---
  const signalled = await ann.socket.request('signal', { room: red, event: 'typing', data: { on: true } });
  await until(() => [ben, cat, dan].every((member) => member.signals.length >= 1));
  await pause(SETTLE_MS);
  check(signalled, {
    'signal is acked': (ack) => ack.ok === true,
    'members hear the signal once, without an offset': () => [ben, cat, dan].every(({ signals }) =>
      signals.length === 1 && signals[0].length === 1
      && signals[0][0].room === red && signals[0][0].data.on === true),
    'nobody else hears the signal': () => eve.signals.length === 0,
  });

  // --- history ---
  const offsets = cat.heard(red).map(({ offset }) => offset).concat(first.offset).sort(byOffset);
  const whole = await cat.socket.request('history', { room: red, after: start, limit: 100 });
  const page = await cat.socket.request('history', { room: red, after: offsets[4], limit: 5 });
  const earlier = await cat.socket.request('history', { room: red, before: offsets[5], limit: 3 });
  check(whole, {
    'history holds what members heard, and nothing else': (ack) => ack.ok === true && ack.more === false
      && same(ack.events.map(({ offset }) => offset).sort(byOffset), offsets),
    'history tells names and arguments': (ack) => ack.events.every(({ event, args }) =>
      typeof event === 'string' && Array.isArray(args) && args[0].room === red),
    'history after an offset is a page': () => page.ok === true && page.more === true
      && same(page.events.map(({ offset }) => offset).sort(byOffset), offsets.slice(5, 10)),
    'history before an offset is a page': () => earlier.ok === true && earlier.more === true
      && same(earlier.events.map(({ offset }) => offset).sort(byOffset), offsets.slice(2, 5)),
  });

  // --- leave ---
  const left = await dan.socket.request('leave', { room: red });
  const before = dan.heard(red).length;
  const last = await publish(ann, red, 'after-leave');
  await until(() => cat.heard(red).some(({ data }) => data === 'after-leave'));
  await pause(SETTLE_MS);
  const outsider = await dan.socket.request('publish', { room: red, data: 'from outside' });
  check(left, {
    'leave is acked': (ack) => ack.ok === true,
    'who left hears no more of the room': () => last.ack.ok === true && dan.heard(red).length === before,
    'publishing needs membership': () => refused(outsider, 'not_in_room'),
  });

  // --- refusals ---
  const empty = await ann.socket.request('join', { room: '' });
  const long = await ann.socket.request('join', { room: 'x'.repeat(256) });
  const control = await ann.socket.request('join', { room: 'line\nbreak' });
  const object = await ann.socket.request('join', { room: { name: red } });
  const unknown = await ann.socket.request('no_such_event', { room: red });
  check(null, {
    'an empty room name is refused': () => refused(empty, 'bad_room'),
    'a long room name is refused': () => refused(long, 'bad_room'),
    'a room name with control characters is refused': () => refused(control, 'bad_room'),
    'a room that is no name is refused': () => refused(object),
    'an unknown event is refused': () => refused(unknown, 'unknown_event'),
    'a refusal costs nobody the session': () => members.every(({ socket }) => socket.connected),
  });
}

/** A socket with a memory. */
class Member {
  constructor(name) {
    this.name = name;
    this.events = []; // everything named `message`, in order: {room, user, data, at, offset}
    this.notes = [];
    this.signals = []; // whole argument lists
    this.socket = new Socket({ url: URL, auth: AUTH, ackTimeoutMs: PATIENCE_MS, connectTimeoutMs: PATIENCE_MS });
    this.socket.on('message', ([event, offset]) => this.events.push({ ...event, offset }));
    this.socket.on('note', ([event, offset]) => this.notes.push({ ...event, offset }));
    this.socket.on('typing', (args) => this.signals.push(args));
  }

  heard(room) {
    return this.events.filter((event) => event.room === room);
  }
}

async function publish(member, room, data) {
  return { data, ack: await member.socket.request('publish', { room, data }) };
}

/** Unlike k6's sleep(), lets the sockets of this virtual user go on. */
function pause(ms) {
  return new Promise((resolve) => { setTimeout(resolve, ms); });
}

/** Waits for a condition without holding up the event loop; what is still missing then, the checks will say. */
function until(condition) {
  const deadline = Date.now() + PATIENCE_MS;
  return new Promise((resolve) => {
    const poll = () => (condition() || Date.now() > deadline ? resolve(undefined) : setTimeout(poll, 10));
    poll();
  });
}

function refused(ack, code) {
  const { error } = ack;
  return ack.ok === false && typeof error.message === 'string' && /^[a-z_]+$/.test(error.code)
    && (code === undefined || error.code === code);
}

function isOffset(value) {
  return typeof value === 'string' && /^(0|[1-9][0-9]*)$/.test(value);
}

/** Offsets are compared as decimal strings: JavaScript's numbers end at 2^53. */
function byOffset(a, b) {
  return a.length - b.length || (a < b ? -1 : Number(a > b));
}

function rising(offsets) {
  return offsets.every((offset, n) => isOffset(offset) && (n === 0 || byOffset(offsets[n - 1], offset) < 0));
}

function view(value) {
  return value instanceof ArrayBuffer ? Array.from(new Uint8Array(value)) : [];
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
