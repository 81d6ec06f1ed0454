// Limits: one client after the other wants too much, is refused in words, and closed if it does not listen; the others, who publish
// meanwhile, notice nothing.
//
//   k6 run limits.js                                  a gateway with its default limits
//   k6 run -e LIMIT_EVENTS_BURST=20 -e LIMIT_EVENTS=10 -e LIMIT_HANDSHAKES=0 limits.js      other ones; 0: none, and not tried
import { check } from 'k6';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';
import { Client } from './lib/client.js';
import { Crowd, crowdOptions, crowdSettings, latencies, pause } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight } from './lib/preflight.js';
import { common, dialling, number, refuse, whole } from './lib/settings.js';
import { Socket } from './lib/socketio.js';
import { summary } from './lib/summary.js';
import { auth, PROVEN } from './lib/users.js';

// What the gateway's configuration says in `limits`, by its defaults.
const EVENTS = number('LIMIT_EVENTS', 50, 0); // events_per_second
const EVENTS_BURST = whole('LIMIT_EVENTS_BURST', 100, 0); // events_burst
const REFUSALS_BURST = whole('LIMIT_REFUSALS_BURST', 250, 0); // refusals_burst
const MESSAGE_BYTES = whole('LIMIT_MESSAGE_BYTES', 65536, 0); // message_bytes
const ROOMS = whole('LIMIT_ROOMS', 100, 0); // rooms_per_session
const HANDSHAKES = whole('LIMIT_HANDSHAKES', 50, 0); // handshakes_per_second_per_address
if ((EVENTS === 0) !== (EVENTS_BURST === 0)) refuse('LIMIT_EVENTS and LIMIT_EVENTS_BURST are both 0, or none is');

const settings = crowdSettings({ clients: 20, vus: 2, rate: 20, rampSeconds: 2, holdSeconds: 20 });
const { clients, rate, rampSeconds, holdSeconds } = settings;
const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  { name: 'meanwhile', seconds: holdSeconds, clients, rate, step: true },
]);

const refusals = new Counter('limits_refused'); // tagged code=...
const retried = new Trend('limits_retry_after', true); // what the gateway asked to wait
const completed = new Counter('limits_completed');

const crowd = crowdOptions('neighbours', plan, settings, {
  ...latencies(['meanwhile']),
  checks: ['rate==1'],
  limits_completed: ['count==1'],
});
// The greedy ones are closed and refused: what is asked here is what happens to the others.
delete crowd.thresholds['sio_ack_success{event:publish}'];
export const options = {
  ...crowd,
  scenarios: {
    ...crowd.scenarios,
    greedy: {
      executor: 'per-vu-iterations', vus: 1, iterations: 1, exec: 'greedy', startTime: `${rampSeconds}s`,
      maxDuration: `${holdSeconds + 60}s`,
    },
  },
};

export const setup = () => preflight(plan);
export const handleSummary = summary('limits');

export default async function (start) {
  await new Crowd(plan, settings, start).run();
}

/** Wants too much of everything, one thing after the other. */
export async function greedy({ run }) {
  const room = `limits-${run}`;
  if (EVENTS > 0) {
    await tooManyEvents(room);
    if (REFUSALS_BURST > 0) await doesNotListen(room);
  }
  if (MESSAGE_BYTES > 0) await tooLarge(room);
  if (ROOMS > 0) await tooManyRooms(room);
  if (PROVEN) await wrongToken();
  if (HANDSHAKES > 0) await tooManyHandshakes();
  completed.add(1);
}

async function tooManyEvents(room) {
  const client = await entered(room);
  const more = Math.max(10, Math.min(REFUSALS_BURST || 100, 100));
  const answers = await burst(client, room, EVENTS_BURST + more);
  const refused = answers.filter((answer) => answer?.ok === false);
  for (const { error } of refused) {
    refusals.add(1, { code: error.code });
    retried.add(error.retryAfterMs ?? 0);
  }
  if (refused.length === 0) hint('LIMIT_EVENTS and LIMIT_EVENTS_BURST', 'events_per_second');
  const accepted = answers.filter((answer) => answer?.ok === true).length;
  await pause(Math.max(...refused.map(({ error }) => error.retryAfterMs ?? 0), 1000 / EVENTS) + 50);
  const later = await ask(client, 'signal', { room, event: 'noise', data: null });
  check(refused, {
    'too many events at once: some are refused': (all) => all.length > 0,
    'as many pass as the burst allows': () => accepted >= EVENTS_BURST - 1, // the join was one
    'the refusals say rate_limited, and when to try again': (all) => all.every(({ error }) =>
      error.code === 'rate_limited' && error.retryAfterMs > 0),
    'who waits that long is let through': () => later?.ok === true,
    'who is refused keeps its connection': () => client.connected,
  });
  client.close();
}

async function doesNotListen(room) {
  const client = await entered(room);
  const reasons = [];
  client.on('disconnect', (reason) => reasons.push(reason));
  let back = null;
  client.on('session', (session) => { back = session; });
  // Without waiting for anything; what it may not, and what it may be refused, twice.
  for (let n = 0; n < 2 * (EVENTS_BURST + REFUSALS_BURST); n++) client.emit('signal', [{ room, event: 'noise', data: null }]);
  await until(() => back !== null, 10000);
  check(reasons, {
    'who goes on regardless is closed': (all) => all.length > 0,
    'by its transport, so that it comes back': (all) => all[0] === 'transport_close' || all[0] === 'transport_error',
    'to the session that it had': () => back?.recovered === true,
  });
  client.close();
}

async function tooLarge(room) {
  const client = await entered(room);
  let ended = false;
  client.on('disconnect', () => { ended = true; });
  const fits = await ask(client, 'publish', { room, data: 'x'.repeat(Math.max(0, MESSAGE_BYTES - 1024)) });
  const answer = await ask(client, 'publish', { room, data: 'x'.repeat(MESSAGE_BYTES + 1) });
  if (answer?.ok === false) refusals.add(1, { code: answer.error.code });
  check(answer, {
    'an event of almost the largest size passes': () => fits?.ok === true,
    'a larger one is refused as too_large, or ends the connection': (got) => (got === null ? ended : got.error?.code === 'too_large'),
  });
  client.close();
}

async function tooManyRooms(room) {
  const client = await entered(`${room}-0`);
  let last = null;
  for (let n = 1; n <= ROOMS; n++) {
    last = await ask(client, 'join', { room: `${room}-${n}` });
    // Joining is limited like any other event.
    while (last?.error?.code === 'rate_limited') {
      await pause(last.error.retryAfterMs);
      last = await ask(client, 'join', { room: `${room}-${n}` });
    }
    if (!last?.ok && n < ROOMS) break;
  }
  if (last?.ok) hint('LIMIT_ROOMS', 'rooms_per_session');
  else if (last) refusals.add(1, { code: last.error.code });
  const still = await ask(client, 'join', { room: `${room}-0` });
  check(last, {
    'one room more than allowed is refused as too_many_rooms': (answer) => answer?.error?.code === 'too_many_rooms',
    'a room that it is in is none more': () => still?.ok === true || still?.error?.code === 'rate_limited',
  });
  client.close();
}

async function wrongToken() {
  const socket = new Socket(dialling({ token: 'not a token' }));
  const error = await new Promise((resolve) => {
    socket.on('connect_error', resolve);
    socket.on('connect', () => resolve(null));
    socket.on('disconnect', () => resolve(null));
  });
  socket.close();
  check(error, { 'a token that is none lets nobody in': (refused) => typeof refused?.message === 'string' });
}

async function tooManyHandshakes() {
  const dial = () => http.asyncRequest('GET', `${common.url}${common.path}?EIO=4&transport=polling`, null, {
    tags: { name: 'socket.io flood' }, responseCallback: http.expectedStatuses(200, 429), jar: new http.CookieJar(),
  });
  const answers = await Promise.all(Array.from({ length: 3 * HANDSHAKES }, dial));
  const taken = answers.filter(({ status }) => status === 200);
  const refused = answers.filter(({ status }) => status === 429);
  refusals.add(refused.length, { code: 'handshakes' });
  if (refused.length === 0) hint('LIMIT_HANDSHAKES', 'handshakes_per_second_per_address');
  await pause(1100);
  const later = await dial();
  check(refused, {
    'too many handshakes at once: some are refused with 429': (all) => all.length > 0,
    'they say when to try again': (all) => all.every(({ headers }) => Number(headers['Retry-After']) > 0),
    'the others are let in': () => taken.length > 0 && taken.length + refused.length === answers.length,
    'a second later there is room again': () => later.status === 200,
  });
  await Promise.all([...taken, later].filter(({ status }) => status === 200).map(({ body }) => http.asyncRequest('POST',
    `${common.url}${common.path}?EIO=4&transport=polling&sid=${JSON.parse(String(body).slice(1)).sid}`, '1',
    { tags: { name: 'socket.io flood' }, jar: new http.CookieJar() })));
}

/** A client that is in a room. */
async function entered(room) {
  const client = new Client(dialling(auth(settings.clients)));
  await new Promise((resolve) => { client.on('session', resolve); });
  await ask(client, 'join', { room });
  return client;
}

/** Many signals at once, and the answers to all of them. */
function burst(client, room, count) {
  return Promise.all(Array.from({ length: count }, () => ask(client, 'signal', { room, event: 'noise', data: null })));
}

/** An answer, or null where none came. */
function ask(client, event, argument) {
  return new Promise((resolve) => {
    if (!client.emit(event, [argument], (error, [answer]) => resolve(error ? null : answer))) resolve(null);
  });
}

async function until(condition, patienceMs) {
  const deadline = Date.now() + patienceMs;
  while (!condition() && Date.now() < deadline) await pause(20);
}

function hint(setting, key) {
  console.error(`nothing was refused: this gateway's limits.${key} is not what ${setting} says. Start it with its defaults, say what its limit `
    + 'is, or 0 where it has none');
}
