// Tokens of sessions that are connected: their end, their renewal, their revocation, and what they say about rooms.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { ask, client, connect, connectError, member, ok, refused } from './clients.mjs';
import { eventually, mintToken, request, startCluster } from './harness.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';
const ADMIN = 'a token for operators';
const WEBSOCKET = { transports: ['websocket'] };

let cluster;
before(async () => {
  const settings = { GATEWAY_AUTH__SECRET: SECRET, GATEWAY_ADMIN__TOKEN: ADMIN, GATEWAY_AUTH__LEEWAY: '0s' };
  cluster = await startCluster(settings);
});
after(() => cluster?.stop());

const token = (user, ...args) => mintToken(SECRET, '--user', user, ...args);

/** An operator revokes tokens, at one node. */
async function revoke(what) {
  const headers = { authorization: `Bearer ${ADMIN}`, 'content-type': 'application/json' };
  const url = `${cluster.nodes[0].admin}/revocations`;
  return request(url, { method: 'POST', headers, body: JSON.stringify(what) });
}

describe('the end of a token', { timeout: 60_000 }, () => {
  test('ends its session, whose client comes back with a new one', async () => {
    const first = await token('alice', '--ttl', '2s');
    const second = await token('alice', '--ttl', '1h');
    let attempts = 0;
    const auth = (give) => {
      attempts += 1;
      give({ token: attempts === 1 ? first : second });
    };
    const { socket, inbox } = await member(cluster.url, { ...WEBSOCKET, auth }, 'at the end');
    const refusals = [];
    socket.on('refused', ({ error }) => refusals.push(error.code));
    await eventually('it was ended and is back', () => attempts === 2 && socket.connected);
    assert.deepEqual(refusals, ['token_expired']);
    assert.equal(socket.recovered, true);
    await ok(socket, 'publish', { room: 'at the end', data: 'still a member' });
    await eventually('it hears itself', () => inbox.heard.length === 1);
  });

  test('keeps a client out that has no other', async () => {
    const socket = client(cluster.url, { ...WEBSOCKET, auth: { token: await token('bob', '--ttl', '1s') } });
    const errors = [];
    socket.on('connect_error', ({ message }) => errors.push(message));
    socket.connect();
    await eventually('it is kept out', () => errors.length > 0);
    assert.match(errors[0], /expired/);
    assert.equal(socket.active, false);
  });

  test('does not come for a session that renews it', async () => {
    const socket = await connect(cluster.url, { ...WEBSOCKET, auth: { token: await token('carol', '--ttl', '3s') } });
    const disconnects = [];
    socket.on('disconnect', (reason) => disconnects.push(reason));
    const renewed = await token('carol', '--ttl', '1h');
    const { expiresInMs, left } = await ok(socket, 'auth:refresh', { token: renewed });
    assert.ok(expiresInMs > 3_500_000, `${expiresInMs}`);
    assert.deepEqual(left, []);
    const other = await connect(cluster.url, { ...WEBSOCKET, auth: { token: await token('dave', '--ttl', '3s') } });
    await eventually('the one that did not renew is ended', () => !other.connected);
    await ok(socket, 'join', { room: 'still here' });
    assert.deepEqual(disconnects, []);
  });

  test('is not put off by somebody else\'s token, an old one, or none', async () => {
    const socket = await connect(cluster.url, { ...WEBSOCKET, auth: { token: await token('erin') } });
    assert.equal((await refused(socket, 'auth:refresh', { token: await token('frank') })).code, 'not_allowed');
    assert.equal((await refused(socket, 'auth:refresh', { token: 'nonsense' })).code, 'unauthorized');
    assert.equal((await refused(socket, 'auth:refresh')).code, 'bad_request');
  });
});

describe('revocation', { timeout: 60_000 }, () => {
  test('by token ends that session on every node and lets it in nowhere', async () => {
    const revoked = await token('gina', '--id', 'gina-1');
    const sockets = await Promise.all(
      cluster.nodes.map((node) => connect(node.url, { ...WEBSOCKET, auth: { token: revoked } })),
    );
    const other = await connect(cluster.url, { ...WEBSOCKET, auth: { token: await token('gina', '--id', 'gina-2') } });
    assert.equal((await revoke({ token: 'gina-1' })).status, 204);
    await eventually('all are ended', () => sockets.every((socket) => !socket.connected && !socket.active));
    for (const node of cluster.nodes) {
      const { message } = await connectError(node.url, { ...WEBSOCKET, auth: { token: revoked } });
      assert.match(message, /revoked/);
    }
    await ok(other, 'join', { room: 'the other token' });
  });

  test('by user and time ends what was issued before, and outlives a node', async () => {
    const before = await token('henry');
    const socket = await connect(cluster.nodes[1].url, { ...WEBSOCKET, auth: { token: before } });
    assert.equal((await revoke({ user: 'henry', before: Math.floor(Date.now() / 1000) + 1 })).status, 204);
    await eventually('it is ended', () => !socket.connected && !socket.active);
    const node = cluster.nodes[2];
    cluster.signal(node, 'SIGKILL');
    await cluster.ended(node.name);
    await cluster.startAgain(node.name);
    const refusal = await eventually('the new node answers', () =>
      connectError(node.url, { ...WEBSOCKET, auth: { token: before } }).then(({ message }) => /revoked/.test(message)));
    assert.ok(refusal);
  });

  test('is for operators, and says what it takes', async () => {
    const url = `${cluster.nodes[0].admin}/revocations`;
    assert.equal((await request(url, { method: 'POST', body: '{"user":"x"}' })).status, 401);
    const bad = await revoke({ nobody: true });
    assert.equal(bad.status, 400);
    assert.match(bad.body, /user/);
  });
});

describe('rooms of a token', { timeout: 60_000 }, () => {
  test('are the ones that its patterns name', async () => {
    const auth = { token: await token('iris', '--join', 'team:*', '--publish', 'team:a*') };
    const socket = await connect(cluster.url, { ...WEBSOCKET, auth });
    await ok(socket, 'join', { room: 'team:alpha' });
    await ok(socket, 'join', { room: 'team:beta' });
    await ok(socket, 'publish', { room: 'team:alpha', data: 1 });
    for (const [event, payload] of [
      ['join', { room: 'elsewhere' }],
      ['publish', { room: 'team:beta', data: 1 }],
      ['signal', { room: 'team:beta', event: 'wave', data: 1 }],
    ]) {
      assert.equal((await refused(socket, event, payload)).code, 'not_allowed', event);
    }
  });

  test('are left when a new token no longer names them', async () => {
    const options = (args) => ({ ...WEBSOCKET, auth: args });
    const socket = await connect(cluster.url, options({ token: await token('jo', '--join', '*') }));
    for (const room of ['kept:1', 'lost:1']) await ok(socket, 'join', { room });
    const narrower = await token('jo', '--join', 'kept:*');
    assert.deepEqual((await ok(socket, 'auth:refresh', { token: narrower })).left, ['lost:1']);
    assert.equal((await ask(socket, 'publish', { room: 'lost:1', data: 1 })).error.code, 'not_in_room');
    await ok(socket, 'publish', { room: 'kept:1', data: 1 });
  });

  test('the Authorization header is as good as auth.token', async () => {
    const extraHeaders = { authorization: `Bearer ${await token('kim')}` };
    for (const transports of [['websocket'], ['polling']]) {
      const socket = await connect(cluster.nodes[0].url, { transports, extraHeaders });
      await ok(socket, 'join', { room: 'by header' });
    }
  });
});
