// Who may come in when tokens are required, and under which name.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { connect, connectError, Inbox, MODES, ok } from './clients.mjs';
import { eventually, mintToken, startNode } from './harness.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';

let cluster;
let token; // alice's, minted by the gateway
before(async () => {
  cluster = await startNode({ GATEWAY_AUTH__SECRET: SECRET });
  token = await mintToken(SECRET, '--user', 'alice');
});
after(() => cluster?.stop());

const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
const decode = (part) => JSON.parse(Buffer.from(part, 'base64url').toString());

/** The gateway's own token with some claims changed and signed again. */
function forged({ claims = {}, header = {}, secret = SECRET, hash = 'sha256' }) {
  const [oldHeader, oldClaims] = token.split('.').slice(0, 2).map(decode);
  const signed = `${encode({ ...oldHeader, ...header })}.${encode({ ...oldClaims, ...claims })}`;
  return `${signed}.${createHmac(hash, secret).update(signed).digest('base64url')}`;
}

const seconds = (fromNow) => Math.floor(Date.now() / 1000) + fromNow;

// Each differs from a token that is let in by one thing only; the first test shows that the method is sound.
const bad = {
  'no auth at all': () => undefined,
  'no token': () => ({}),
  'an empty token': () => ({ token: '' }),
  'a token that is not a string': () => ({ token: { sub: 'alice' } }),
  'something that is no token': () => ({ token: 'let me in' }),
  'a token that has expired': () => ({ token: forged({ claims: { exp: seconds(-3600) } }) }),
  'a token that is not yet valid': () => ({ token: forged({ claims: { nbf: seconds(3600) } }) }),
  'a token that never expires': () => ({ token: forged({ claims: { exp: undefined } }) }),
  'a token for nobody': () => ({ token: forged({ claims: { sub: '' } }) }),
  'a token of another secret': () => ({ token: forged({ secret: 'guessed' }) }),
  'a token of an empty secret': () => ({ token: forged({ secret: '' }) }),
  'a token of another algorithm': () => ({ token: forged({ header: { alg: 'HS512' }, hash: 'sha512' }) }),
  'a token that says it needs no signature': () => {
    const unsigned = forged({ header: { alg: 'none' } });
    return { token: unsigned.slice(0, unsigned.lastIndexOf('.') + 1) };
  },
  'a token whose user was changed afterwards': () => {
    const [header, claims, signature] = token.split('.');
    return { token: [header, encode({ ...decode(claims), sub: 'bob' }), signature].join('.') };
  },
  'a token of enormous size': () => ({ token: 'x'.repeat(30_000) }),
};

test('a token that was signed again with a later end is let in', { timeout: 30_000 }, async () => {
  await connect(cluster.url, { transports: ['websocket'], auth: { token: forged({ claims: { exp: seconds(60) } }) } });
});

for (const [mode, options] of Object.entries(MODES)) {
  describe(mode, { timeout: 60_000 }, () => {
    for (const [what, auth] of Object.entries(bad)) {
      test(`${what} is not let in`, async () => {
        const { message, triesAgain } = await connectError(cluster.url, { ...options, auth: auth() });
        assert.match(message, /^unauthorized/);
        // Coming back with the same token would not help: the client must not storm the door.
        assert.equal(triesAgain, false);
      });
    }

    test('a token in the query is not taken for one', async () => {
      const { message } = await connectError(cluster.url, { ...options, query: { token } });
      assert.match(message, /^unauthorized/);
    });

    test('whoever the token names is the author of what is published', async () => {
      const room = `room of ${mode}`;
      const alice = await connect(cluster.url, { ...options, auth: { token } });
      const bob = await connect(cluster.url, { ...options, auth: { token: await mintToken(SECRET, '--user', 'bob') } });
      const inbox = new Inbox(bob);
      await ok(alice, 'join', { room });
      await ok(bob, 'join', { room });
      await ok(alice, 'publish', { room, data: 'hello', user: 'mallory' });
      await ok(alice, 'signal', { room, event: 'wave', data: 'hello', user: 'mallory' });
      await ok(bob, 'publish', { room, data: 'hello alice' });
      await eventually('all three are heard', () => inbox.heard.length >= 3);
      assert.deepEqual(inbox.heard.map(({ payload }) => payload.user).sort(), ['alice', 'alice', 'bob']);
    });

    test('a client may fetch a new token for every attempt', async () => {
      let attempts = 0;
      const auth = async (give) => {
        attempts += 1;
        give({ token });
      };
      const socket = await connect(cluster.url, { ...options, auth });
      socket.io.engine.close();
      await eventually('it is back', () => attempts >= 2 && socket.connected);
      await ok(socket, 'join', { room: 'back' });
    });
  });
}
