// A back end that decides who comes in, as official clients see it.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';

import { client, connect, Inbox, MODES, ok } from './clients.mjs';
import { eventually, startNode } from './harness.mjs';

/** Who has which session, as any web application knows it; and what it was asked. */
const people = { 'a-session': 'alice', 'b-session': 'bob' };
const asked = [];
let away = false;
const backEnd = http.createServer(async (request, response) => {
  const chunks = await request.toArray();
  const question = JSON.parse(Buffer.concat(chunks).toString());
  asked.push(question);
  if (away) return response.writeHead(503).end();
  const user = people[question.cookies.session];
  const answer = user
    ? { allow: true, user, rooms: ['news', `of ${user}`], expiresInMs: 60_000, data: { unread: 3, for: user } }
    : { allow: false, message: 'please sign in', data: { url: 'https://app.example/login' } };
  response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
});

let cluster;
before(async () => {
  await new Promise((listening) => backEnd.listen(0, '127.0.0.1', listening));
  cluster = await startNode({
    GATEWAY_AUTH__HOOK__URL: `http://127.0.0.1:${backEnd.address().port}/socket/who`,
    GATEWAY_AUTH__HOOK__COOKIES: 'session',
    GATEWAY_AUTH__HOOK__ATTEMPTS: '1',
    GATEWAY_AUTH__HOOK__FAILURES: '0',
    GATEWAY_SOCKET__ORIGINS: 'https://app.example',
  });
});
after(async () => {
  await cluster?.stop();
  backEnd.closeAllConnections();
  backEnd.close();
});

/** What a browser sends that has a session of the application. */
const signedIn = (session) => ({ extraHeaders: { cookie: `session=${session}`, origin: 'https://app.example' } });

for (const [mode, options] of Object.entries(MODES)) {
  describe(`over ${mode}`, () => {
    test('it says who a client is, puts it into rooms and tells it something first', { timeout: 30_000 }, async () => {
      const first = [];
      const alice = client(cluster.url, { ...options, ...signedIn('a-session') });
      alice.onAny((...event) => first.push(event));
      await new Promise((connected, failed) => {
        alice.once('connect', connected).once('connect_error', failed).connect();
      });
      await eventually('it is greeted', () => first.length > 0);
      assert.equal(first[0][0], 'gateway:session');
      assert.deepEqual(first[0][1].data, { unread: 3, for: 'alice' });
      const inbox = new Inbox(alice);
      const bob = await connect(cluster.url, { ...options, ...signedIn('b-session') });
      await ok(bob, 'publish', { room: 'news', data: 'for all' });
      await eventually('she hears it', () => inbox.heard.length === 1);
      const refused = await bob.emitWithAck('publish', { room: 'of alice', data: 'not yours' });
      assert.equal(refused.error.code, 'not_in_room');
    });

    test('a no has its reason and is final', { timeout: 30_000 }, async () => {
      const nobody = client(cluster.url, { ...options, ...signedIn('unknown') });
      const error = await new Promise((refused, connected) => {
        nobody.once('connect_error', refused).once('connect', connected).connect();
      });
      assert.equal(error.message, 'please sign in');
      assert.deepEqual(error.data, { url: 'https://app.example/login' });
      assert.equal(nobody.active, false);
    });

    test('while it is away clients try again, and get their sessions back', { timeout: 60_000 }, async () => {
      const alice = await connect(cluster.url, { ...options, ...signedIn('a-session') });
      const bob = await connect(cluster.url, { ...options, ...signedIn('b-session') });
      const inbox = new Inbox(alice);
      const errors = [];
      alice.on('connect_error', (error) => errors.push(error));
      away = true;
      const before = asked.length;
      alice.io.engine.close();
      await ok(bob, 'publish', { room: 'of bob', data: 'unheard' });
      await ok(bob, 'publish', { room: 'news', data: 'missed' });
      await eventually('it was asked in vain', () => asked.length > before);
      away = false;
      await eventually('she is back', () => alice.connected && alice.recovered, 20_000);
      await eventually('she hears what she missed', () => inbox.heard.length === 1);
      assert.deepEqual(errors.filter((error) => error.data), [], 'nobody was refused for good');
      assert.ok(asked.at(-1).event === 'connect' && !('pid' in (asked.at(-1).auth ?? {})));
    });
  });
}
