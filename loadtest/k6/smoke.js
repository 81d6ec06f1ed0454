// Smoke test: one virtual user walks every verb of the native profile with five clients over all transports in two rooms, and k6
// exits non-zero if anything is not as promised.
//
//   k6 run smoke.js                                   a gateway at http://127.0.0.1:3000
//   k6 run -e URL=http://127.0.0.1:8080 smoke.js      a cluster behind its load balancer
//   k6 run -e SECRET=... smoke.js                     where auth.secret is set
//   k6 run -e API_KEY=gw_... smoke.js                 back ends, too: they publish and ask
//   k6 run -e OTHER_NAMESPACE=/orders smoke.js        where there is another one, with the same routes
import { check } from 'k6';
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { Client } from './lib/client.js';
import { pause } from './lib/crowd.js';
import { byOffset, isOffset, rising } from './lib/offsets.js';
import { preflight } from './lib/preflight.js';
import { common, dialling, text } from './lib/settings.js';
import { Socket } from './lib/socketio.js';
import { summary } from './lib/summary.js';
import { auth, MANY } from './lib/users.js';

const API_KEY = text('API_KEY');
const API_URL = text('API_URL', common.url).replace(/\/$/, '');
const OTHER_NAMESPACE = text('OTHER_NAMESPACE');
// All of them in one room, unless TRANSPORT says one.
const TRANSPORT_OF = { ann: 'websocket', ben: 'polling', cat: 'upgrade', dan: 'websocket', eve: 'polling' };
const EVENTS_PER_PUBLISHER = 10; // far below limits.events_burst, so that no rate limit can blur the picture
const PATIENCE_MS = 3000; // for what should take milliseconds
const SETTLE_MS = 300; // how long a duplicate or a stray event gets to show up

// A threshold over a metric without samples would pass if nothing ran at all; reaching the end is a sample.
const completed = new Counter('smoke_completed');

export const options = {
  scenarios: {
    smoke: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '20s', gracefulStop: '1s' },
  },
  thresholds: {
    smoke_completed: ['count==1'],
    checks: ['rate==1'],
    // Not of those who are to be kept out.
    'sio_connect_success{expected:in}': ['rate==1'],
    sio_recovered: ['rate==1'],
    sio_ack_success: ['rate==1'],
    'sio_errors{kind:protocol}': ['count==0'],
    'sio_errors{kind:transport}': ['count==0'],
    'sio_disconnects{reason:io_server_disconnect}': ['count==0'],
    'sio_disconnects{reason:transport_close}': ['count==0'],
    'sio_disconnects{reason:ping_timeout}': ['count==0'],
  },
  summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max', 'count'],
};

export const setup = () => preflight();
export const handleSummary = summary('smoke');

export default async function ({ run }) {
  const members = [];
  try {
    await walk(members, run);
    completed.add(1);
  } finally {
    // An open socket keeps the iteration alive, also after a failed step.
    for (const member of members) member.socket.close();
  }
}

async function walk(members, run) {
  // Names of this run alone, so that runs do not hear each other and history starts empty.
  const red = `smoke-red-${run}`;
  const blue = `smoke-blue-${run}`;

  for (const name of Object.keys(TRANSPORT_OF)) members.push(new Member(name, members.length));
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

  await presence(members, blue);
  await recovery(members, blue);
  await replay(members, blue);
  await namespaces(ann);
  if (API_KEY) await backEnds(members, blue);
}

/** Who is there: Dan and Eve, each of whom is a member of its own unless all are one user. */
async function presence([, , , dan], blue) {
  const there = await dan.socket.request('presence', { room: blue });
  check(there, {
    'presence counts and lists the members': (ack) => ack.ok === true && ack.members.length === ack.count
      && ack.count === (MANY || !auth(0) ? 2 : 1),
  });
}

/** A client that loses its connection comes back to its session, by its pid and the last offset that it heard. */
async function recovery([, , , dan], blue) {
  for (const transport of text('TRANSPORT') ? [common.transport] : ['websocket', 'polling']) {
    const heard = [];
    const sessions = [];
    const fay = new Client(dialling(auth(5), { transport, recovery: 'pid', delayMs: 200, tags: { expected: 'in' } }));
    fay.on('session', (session) => sessions.push(session));
    fay.on('message', ([event]) => heard.push(event.data));
    try {
      await until(() => sessions.length === 1);
      await fay.socket.request('join', { room: blue });
      await publish(dan, blue, 'before');
      await until(() => heard.length === 1);
      fay.cut();
      await publish(dan, blue, 'meanwhile');
      await until(() => sessions.length === 2);
      await publish(dan, blue, 'after');
      await until(() => heard.length === 3);
      await pause(SETTLE_MS);
    } finally {
      fay.close();
    }
    check(null, {
      [`who lost its connection comes back to its session (${transport})`]: () => sessions.length === 2 && sessions[1].recovered === true,
      [`it hears what it missed, once and in order (${transport})`]: () => same(heard, ['before', 'meanwhile', 'after']),
    });
  }
}

/** A join with an offset delivers first what the room published after it. */
async function replay([ann, , , dan], blue) {
  const start = (await dan.socket.request('join', { room: blue })).offset;
  const first = await publish(dan, blue, 'replayed');
  const before = ann.heard(blue).length;
  const joined = await ann.socket.request('join', { room: blue, after: start });
  const live = await publish(dan, blue, 'live');
  await until(() => ann.heard(blue).length === before + 2);
  await pause(SETTLE_MS);
  await ann.socket.request('leave', { room: blue });
  check(joined, {
    'a join with an offset is told whether that was all': (ack) => ack.ok === true && ack.recovered === true,
    'it delivers what was published since, then what comes': () =>
      same(ann.heard(blue).slice(before).map(({ offset }) => offset), [first.ack.offset, live.ack.offset]),
  });
}

/** Namespaces share a connection, and nothing else. */
async function namespaces(ann) {
  const stranger = new Socket(dialling(auth(0), {
    namespace: '/smoke-no-such-namespace', connection: ann.socket.connection, connectTimeoutMs: PATIENCE_MS, tags: { expected: 'out' },
  }));
  const error = await new Promise((resolve) => {
    stranger.on('connect_error', resolve);
    stranger.on('connect', () => resolve(null));
    stranger.on('disconnect', () => resolve(null));
  });
  const still = await ann.socket.request('join', { room: `smoke-again-${Date.now()}` });
  check(error, {
    'a namespace that there is not is refused': (refusal) => typeof refusal?.message === 'string',
    'the others of its connection go on': () => still.ok === true,
  });
  if (!OTHER_NAMESPACE) return;

  const room = `smoke-both-${Date.now()}`;
  const heard = { here: [], there: [] };
  const other = new Socket(dialling(auth(0), { namespace: OTHER_NAMESPACE, connection: ann.socket.connection, connectTimeoutMs: PATIENCE_MS }));
  await other.ready();
  other.on('message', ([event]) => heard.there.push(event.data));
  ann.socket.on('message', ([event]) => heard.here.push(event.data));
  await Promise.all([ann.socket, other].map((socket) => socket.request('join', { room })));
  await Promise.all([ann.socket.request('publish', { room, data: 'here' }), other.request('publish', { room, data: 'there' })]);
  await until(() => heard.here.length > 0 && heard.there.length > 0);
  await pause(SETTLE_MS);
  other.close();
  check(heard, {
    'rooms of one name in two namespaces are apart': ({ here, there }) => same(here, ['here']) && same(there, ['there']),
    'leaving one namespace leaves the other': () => ann.socket.connected,
  });
}

/** Back ends publish over HTTP, and ask clients, who answer with an ack. */
async function backEnds([, , , dan, eve], blue) {
  const say = (path, body) => http.asyncRequest('POST', `${API_URL}/api/v1/rooms/${encodeURIComponent(blue)}/${path}`, JSON.stringify(body), {
    headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' }, tags: { name: `api ${path}` },
  });
  for (const { socket, name } of [dan, eve]) socket.on('who', (args, { ack }) => ack({ name }));
  const before = dan.heard(blue).length;
  const said = await say('events', { event: 'message', data: { room: blue, data: 'from a back end' } });
  await until(() => dan.heard(blue).length > before);
  const asked = await say('ask', { event: 'who', data: null, timeoutMs: PATIENCE_MS });
  check(said, {
    'a back end publishes over HTTP': (answer) => answer.status === 201 && dan.heard(blue)[before]?.data === 'from a back end',
    'a back end asks clients, and hears their acks': () => asked.status === 200
      && same(/** @type {any} */ (asked.json('answers')).map(({ args }) => args[0].name).sort(), ['dan', 'eve']),
  });
}

/** A socket with a memory. */
class Member {
  constructor(name, index) {
    this.name = name;
    this.events = []; // everything named `message`, in order: {room, user, data, at, offset}
    this.notes = [];
    this.signals = []; // whole argument lists
    const transport = text('TRANSPORT') ? common.transport : TRANSPORT_OF[name];
    this.socket = new Socket(dialling(auth(index), { transport, tags: { expected: 'in' }, ackTimeoutMs: PATIENCE_MS, connectTimeoutMs: PATIENCE_MS }));
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

function view(value) {
  return value instanceof ArrayBuffer ? Array.from(new Uint8Array(value)) : [];
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
