// The example back ends: do they let users in, tell them once what happened, and hear of them, whatever is lost on the way?

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { closeClients, connect, ok, refused } from './clients.mjs';
import { EXAMPLES, Example, Front, missing } from './examples.mjs';
import { configured, eventually, makeKey, request, startNode } from './harness.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';
const HOOK_SECRET = 'what signs hooks, for the tests only';

/** A request that the gateway could have sent, signed some seconds ago. */
function hook(example, events, { secrets = [HOOK_SECRET], ago = 0 } = {}) {
  const body = JSON.stringify({ hook: 'shop', events });
  const time = Math.floor(Date.now() / 1000) - ago;
  const signatures = secrets.map((secret) => `v1=${createHmac('sha256', secret).update(`${time}.${body}`).digest('hex')}`);
  const headers = { 'Content-Type': 'application/json', 'X-Gateway-Signature': [`t=${time}`, ...signatures].join(',') };
  return request(`${example.url}/gateway-hook`, { method: 'POST', headers, body });
}

const joined = (id, room) => ({ id, type: 'room.joined', time: Date.now(), namespace: '/', room, user: 'bob', member: 'u:bob' });

for (const language of Object.keys(EXAMPLES)) {
  describe(language, { skip: missing(language), timeout: 120_000 }, () => {
    let hooks;
    let configuration;
    let node;
    let gateway;
    let example;
    before(async () => {
      hooks = await Front.start();
      const { key, toml } = await makeKey('--name', 'shop', '--scope', 'publish', '--room', 'orders-*');
      configuration = await configured(`
        ${toml}
        [[hook]]
        name = "shop"
        url = "${hooks.url}/gateway-hook"
        events = ["room.joined", "room.left"]
        rooms = "orders-*"
        secrets = ["${HOOK_SECRET}"]
      `);
      node = await startNode({ ...configuration.settings, GATEWAY_AUTH__SECRET: SECRET });
      gateway = await Front.start(node.url);
      const settings = { REALTIME_URL: gateway.url, REALTIME_KEY: key, TOKEN_SECRET: SECRET, HOOK_SECRET };
      example = await Example.start(language, settings);
      hooks.target = example.url;
    });
    after(async () => {
      closeClients();
      await example?.stop();
      gateway?.stop();
      hooks?.stop();
      await node?.stop();
      await configuration?.remove();
    });

    /** A user who has logged in and is connected, what it hears of payments, and how it asks the back end. */
    async function loggedIn(user, password) {
      const token = await example.login(user, password);
      const socket = await connect(node.url, { transports: ['websocket'], auth: { token } });
      const heard = [];
      socket.on('paid', (...args) => heard.push(args));
      return { socket, heard, ask: (method, where) => example.ask(method, where, { token }) };
    }

    test('only who knows the password gets a token', async () => {
      const logins = [['alice', 'looking-glass'], ['alice', ''], ['alice', 'builder'], ['carol', 'wonderland'], ['carol', '']];
      for (const [user, password] of logins) {
        assert.equal((await example.ask('POST', '/login', { body: { user, password } })).status, 401, `${user} ${password}`);
      }
    });

    test('a user sees its own orders, hears of them once, and is seen', async () => {
      const alice = await loggedIn('alice', 'wonderland');
      assert.equal((await refused(alice.socket, 'join', { room: 'orders-8' })).code, 'not_allowed');
      assert.equal((await alice.ask('POST', '/orders/8/pay')).status, 404);
      for (const token of [undefined, 'no token']) {
        const { status } = await example.ask('POST', '/orders/7/pay', { token });
        assert.ok([401, 403].includes(status), `${status}`);
      }
      await ok(alice.socket, 'join', { room: 'orders-7' });
      await eventually('the back end hears that she came', async () => {
        const { body } = await alice.ask('GET', '/orders/7');
        assert.deepEqual(body, { paid: false, watching: ['alice'], visits: 1 });
        return true;
      });

      const first = await alice.ask('POST', '/orders/7/pay');
      assert.equal(first.status, 200, JSON.stringify(first.body));
      const again = await alice.ask('POST', '/orders/7/pay');
      assert.equal(again.body.offset, first.body.offset);
      await eventually('she hears it', () => alice.heard.length > 0);
      // What the history has once cannot be heard twice.
      const { events } = await ok(alice.socket, 'history', { room: 'orders-7' });
      assert.deepEqual(events.map(({ offset, event }) => [offset, event]), [[first.body.offset, 'paid']]);
      assert.deepEqual(alice.heard, [[{ number: '7' }, first.body.offset]]);

      alice.socket.disconnect();
      await eventually('the back end hears that she went', async () => {
        const { body } = await alice.ask('GET', '/orders/7');
        assert.deepEqual(body, { paid: true, watching: [], visits: 1 });
        return true;
      });
    });

    test('what the gateway could not take or answer is told again, and heard once', async () => {
      const bob = await loggedIn('bob', 'builder');
      await ok(bob.socket, 'join', { room: 'orders-8' });
      gateway.seen.length = 0;
      gateway.plans = [503, 'lose'];
      const { status, body } = await bob.ask('POST', '/orders/8/pay');
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(gateway.seen.length, 3);
      assert.equal(new Set(gateway.seen).size, 1, 'all attempts say the same');
      await eventually('he hears it', () => bob.heard.length > 0);
      const { events } = await ok(bob.socket, 'history', { room: 'orders-8' });
      assert.deepEqual(events.map(({ offset }) => offset), [body.offset]);
      assert.deepEqual(bob.heard, [[{ number: '8' }, body.offset]]);
    });

    test('what would be refused again is not tried again', async () => {
      const bob = await loggedIn('bob', 'builder');
      gateway.seen.length = 0;
      gateway.plans = [403];
      assert.equal((await bob.ask('POST', '/orders/8/pay')).status, 503);
      assert.equal(gateway.seen.length, 1);
    });

    test('of hooks only those of the gateway are taken, and each once', async () => {
      const bob = await loggedIn('bob', 'builder');
      const visits = async () => (await bob.ask('GET', '/orders/8')).body.visits;
      const before = await visits();
      const event = joined('room.joined:1', 'orders-8');
      assert.equal((await hook(example, [event], { secrets: [] })).status, 401);
      assert.equal((await hook(example, [event], { secrets: ['guessed'] })).status, 401);
      assert.equal((await hook(example, [event], { ago: 3600 })).status, 401);
      assert.equal((await request(`${example.url}/gateway-hook`, { method: 'POST', body: '{}' })).status, 401);
      assert.equal(await visits(), before);
      assert.equal((await hook(example, [event])).status, 204);
      assert.equal((await hook(example, [event, { ...event, id: 'x:1', type: 'what nobody knows yet' }])).status, 204);
      const next = joined('room.joined:2', 'orders-8');
      assert.equal((await hook(example, [next], { secrets: ['the new one', HOOK_SECRET] })).status, 204);
      assert.equal(await visits(), before + 2);
    });
  });
}
