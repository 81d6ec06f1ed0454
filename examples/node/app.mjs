// A shop's back end in Express: it lets users in, tells them over the gateway what happens, and hears who looks.

import { createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import express from 'express';
import jwt from 'jsonwebtoken';

// TOKEN_SECRET is the gateway's auth.secret.
const { REALTIME_URL, REALTIME_KEY, TOKEN_SECRET, HOOK_SECRET, PORT = '8000' } = process.env;
for (const [name, value] of Object.entries({ REALTIME_URL, REALTIME_KEY, TOKEN_SECRET, HOOK_SECRET })) {
  if (!value) throw new Error(`${name} is not set`);
}

const TOKEN_LIFE = '1h';
const PUBLISH_ATTEMPTS = 5;
const PUBLISH_TIMEOUT_MS = 5_000;
const HOOK_MAX_AGE_SECONDS = 300;
const HOOK_IDS_KEPT = 10_000;

// What a database would have: users with their salt and hashed password, orders with their owner.
const USERS = new Map([
  ['alice', ['5a1f'.repeat(8), 'd4e95b42fe3418c801eadb20a34f7b8cfc5d02e73c224f187d9a5392b0b8defd']],
  ['bob', ['c07e'.repeat(8), '7f0efe692faac33632bfc59d9ac489ce6340ee5731b3fb4cb93dc59b8d9b2511']],
]);
const OWNERS = new Map([['7', 'alice'], ['8', 'bob']]);
const paid = new Set();
const watching = new Map();
const visits = new Map();
const hookIds = new Set();

const app = express();
app.disable('x-powered-by');

app.post('/login', express.json(), async (request, response) => {
  const { user, password } = request.body ?? {};
  const [salt, expected] = USERS.get(user) ?? ['00', ''];
  const actual = await promisify(pbkdf2)(String(password), Buffer.from(salt, 'hex'), 100_000, 32, 'sha256');
  if (!isEqual(actual, Buffer.from(expected, 'hex'))) {
    return response.status(401).json({ error: 'wrong user or password' });
  }
  // `join` are the rooms that the token opens; without it, it would be all.
  const join = [...OWNERS].filter(([, owner]) => owner === user).map(([number]) => `orders-${number}`);
  const options = { algorithm: 'HS256', subject: user, expiresIn: TOKEN_LIFE };
  response.json({ token: jwt.sign({ join, publish: [] }, TOKEN_SECRET, options) });
});

function currentUser(request, response, next) {
  try {
    const token = request.get('Authorization')?.replace(/^Bearer /i, '') ?? '';
    request.user = jwt.verify(token, TOKEN_SECRET, { algorithms: ['HS256'] }).sub;
    next();
  } catch {
    response.status(401).json({ error: 'log in first' });
  }
}

function ownOrder(request, response, next) {
  if (OWNERS.get(request.params.number) === request.user) return next();
  response.status(404).json({ error: 'there is no such order of yours' });
}

app.post('/orders/:number/pay', currentUser, ownOrder, async (request, response) => {
  const { number } = request.params;
  paid.add(number);
  // The id says what happened, not which attempt to tell it this is: told twice, it is still heard once.
  const offset = await publish(`orders-${number}`, { event: 'paid', data: { number }, id: `paid-${number}` });
  response.json({ offset });
});

app.get('/orders/:number', currentUser, ownOrder, (request, response) => {
  const { number } = request.params;
  const room = `orders-${number}`;
  const users = [...(watching.get(room) ?? [])].sort();
  response.json({ paid: paid.has(number), watching: users, visits: visits.get(room) ?? 0 });
});

/** Says something to everybody in a room. It is in the log when this returns; the event's `id` makes trying again safe. */
async function publish(room, event) {
  const url = new URL(`/api/v1/rooms/${encodeURIComponent(room)}/events`, REALTIME_URL);
  const request = {
    method: 'POST',
    headers: { Authorization: `Bearer ${REALTIME_KEY}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(event),
  };
  let failure;
  for (let attempt = 1; attempt <= PUBLISH_ATTEMPTS; attempt += 1) {
    let wait = 100 * 2 ** attempt * (0.5 + Math.random() / 2);
    try {
      const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(PUBLISH_TIMEOUT_MS) });
      const text = await answer.text();
      if (answer.status === 201) return JSON.parse(text).offset;
      failure = text;
      // Whatever else is wrong would be wrong again.
      if (answer.status !== 429 && answer.status < 500) break;
      wait = Math.max(wait, 1_000 * Number(answer.headers.get('Retry-After') ?? 0));
    } catch (error) {
      // It may have been done: the answer, not the request, may be what was lost.
      failure = String(error.cause ?? error);
    }
    if (attempt < PUBLISH_ATTEMPTS) await delay(wait);
  }
  throw Object.assign(new Error(`the gateway was not told: ${failure}`), { status: 503 });
}

// The signature is over the bytes as they came, so the body is not parsed before it was checked.
app.post('/gateway-hook', express.raw({ type: () => true, limit: '2mb' }), (request, response) => {
  if (!isGenuine(request.get('X-Gateway-Signature') ?? '', request.body)) {
    return response.status(401).json({ error: "the signature is not the gateway's" });
  }
  for (const event of JSON.parse(request.body).events) {
    // A hook comes at least once; its id tells whether it came before.
    if (hookIds.has(event.id)) continue;
    hookIds.add(event.id);
    if (hookIds.size > HOOK_IDS_KEPT) hookIds.delete(hookIds.values().next().value);
    if (event.type === 'room.joined') {
      if (!watching.has(event.room)) watching.set(event.room, new Set());
      watching.get(event.room).add(event.user);
      visits.set(event.room, (visits.get(event.room) ?? 0) + 1);
    } else if (event.type === 'room.left') {
      watching.get(event.room)?.delete(event.user);
    }
  }
  response.status(204).end();
});

/** Whether a request is from the gateway, and not one of long ago that somebody sends again. */
function isGenuine(header, body) {
  const parts = header.split(',').map((part) => part.split('='));
  const time = parts.find(([name]) => name === 't')?.[1];
  const expected = createHmac('sha256', HOOK_SECRET).update(`${time}.`).update(body).digest();
  // There are several while the secret is changed.
  const signatures = parts.filter(([name]) => name === 'v1').map(([, hex]) => Buffer.from(hex ?? '', 'hex'));
  const isSigned = signatures.some((signature) => isEqual(signature, expected));
  return isSigned && Math.abs(Date.now() / 1000 - Number(time)) < HOOK_MAX_AGE_SECONDS;
}

function isEqual(one, other) {
  return one.length === other.length && timingSafeEqual(one, other);
}

app.use((error, request, response, next) => {
  if (response.headersSent) return next(error);
  response.status(error.status ?? 500).json({ error: error.status ? error.message : 'something went wrong here' });
});

app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on ${PORT}`);
});
