// What cannot be recovered, or must not be: the client gets a new session and is told why, and nothing of the old one.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { ask, assertIncreasing, client, connect, Inbox, member, MODES, ok, refused } from './clients.mjs';
import { eventually, mintToken, request, startCluster, startNode } from './harness.mjs';
import { Proxy } from './proxy.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';
const ADMIN = 'a token for the tests only';
const ROOM_EVENTS = 10;
const WINDOW_SECONDS = 2;

const websocket = MODES['websocket only'];
const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
const maximum = (a, b) => (a > b ? a : b);
const numbers = (count) => Array.from({ length: count }, (_, number) => number);

const KINDS = {
  'three nodes': startCluster,
  'one node without Redis': startNode,
};

/** Two rooms; in the first one it misses `count` events, in the other one a single one. */
async function missing(t, cluster, count, pause = 0) {
  const proxy = await Proxy.start(cluster.url);
  t.after(() => proxy.stop());
  const [room, other] = [`busy ${count} ${pause}`, `calm ${count} ${pause}`];
  const gone = await member(proxy.url, { ...SOON, ...websocket }, room, other);
  const speaker = await connect(cluster.nodes[0].url, websocket);
  for (const name of [room, other]) await ok(speaker, 'join', { room: name });
  await ok(speaker, 'publish', { room, data: 'before' });
  await eventually('it hears', () => gone.inbox.heard.length === 1);
  proxy.refusing = true;
  proxy.cut();
  await eventually('it lost its connection', () => !gone.socket.connected);
  await ok(speaker, 'publish', { room: other, data: 'missed' });
  await Promise.all(numbers(count).map((data) => ok(speaker, 'publish', { room, data })));
  await delay(pause);
  proxy.refusing = false;
  await eventually('it is told', () => gone.inbox.hellos().length === 2);
  return { ...gone, room, other, hello: gone.inbox.hellos()[1] };
}

for (const [kind, start] of Object.entries(KINDS)) {
  describe(kind, { timeout: 180_000 }, () => {
    let cluster;
    let alice;
    let bob;
    before(async () => {
      cluster = await start({
        GATEWAY_AUTH__SECRET: SECRET,
        GATEWAY_ADMIN__TOKEN: ADMIN,
        GATEWAY_LIMITS__EVENTS_PER_SECOND: '0',
        GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
        // A thousand of them come at once, beside those that there are.
        GATEWAY_LIMITS__SESSIONS_PER_USER: '2000',
      });
      [alice, bob] = await Promise.all(['alice', 'bob'].map((user) => mintToken(SECRET, '--user', user)));
    });
    after(() => cluster?.stop());

    let rooms = 0;
    const freshRoom = () => `room ${++rooms}`;

    /** A session of Alice's that lost its connection in a room where she had heard 3 events and missed 2 more. */
    async function lostSession(t, room) {
      const proxy = await Proxy.start(cluster.url);
      t.after(() => proxy.stop());
      const options = { ...websocket, auth: { token: alice } };
      const { socket, inbox } = await member(proxy.url, { ...options, reconnection: false }, room);
      const speaker = await member(cluster.nodes[0].url, options, room);
      for (const data of [0, 1, 2]) await ok(speaker.socket, 'publish', { room, data });
      await eventually('it hears', () => inbox.heard.length === 3);
      proxy.cut();
      await eventually('it lost its connection', () => !socket.connected);
      for (const data of [3, 4]) await ok(speaker.socket, 'publish', { room, data });
      return { pid: inbox.hellos()[0].pid, offset: inbox.offsets().at(-1), speaker: speaker.socket };
    }

    /** Comes with these things in its hands, as no stock client would. */
    async function comesWith(token, auth) {
      const comer = await member(cluster.url, { ...websocket, auth: { token, ...auth } });
      await eventually('it is told', () => comer.inbox.hellos().length === 1);
      return { ...comer, hello: comer.inbox.hellos()[0] };
    }

    /** It has a session of its own and nothing else, while life goes on in the room. */
    async function assertFresh({ socket, inbox, hello }, room, speaker) {
      assert.equal(hello.recovered, false);
      assert.deepEqual(hello.rooms ?? [], []);
      assert.equal((await refused(socket, 'publish', { room, data: 'me too' })).code, 'not_in_room');
      const { offset } = await ok(speaker, 'publish', { room, data: 'before or after' });
      const ack = await ok(socket, 'join', { room });
      await ok(socket, 'publish', { room, data: 'me too' });
      await eventually('it hears itself', () => inbox.data(room).at(-1) === 'me too');
      // Its node may not have heard of the word before yet: then that came after the join.
      const before = BigInt(ack.offset) < BigInt(offset) ? ['before or after'] : [];
      assert.deepEqual(inbox.data(room), [...before, 'me too']);
      socket.disconnect();
    }

    test('by hand it works, so what follows is refused for the one thing that differs', async (t) => {
      const room = freshRoom();
      const { pid, offset } = await lostSession(t, room);
      const { inbox, hello } = await comesWith(alice, { pid, offset });
      assert.equal(hello.recovered, true);
      assert.equal(hello.pid, pid);
      await eventually('it heard what it missed', () => inbox.heard.length >= 2);
      assert.deepEqual(inbox.data(room), [3, 4]);
    });

    const badPids = {
      'one that nobody has': '0123456789abcdef0123456789abcdef',
      'an empty one': '',
      'one that is too short': 'abc',
      'one of 50,000 letters': 'x'.repeat(50_000),
      'one with a line end': '0123456789abcdef0123456789abcde\n',
      'a number': 7,
      'a list': ['0123456789abcdef0123456789abcdef'],
      'an object': { pid: 1 },
      'true': true,
    };
    for (const [what, pid] of Object.entries(badPids)) {
      test(`a wrong pid: ${what}`, async (t) => {
        const room = freshRoom();
        const { offset, speaker } = await lostSession(t, room);
        const comer = await comesWith(alice, { pid, offset });
        assert.equal(comer.hello.reason, 'unknown');
        await assertFresh(comer, room, speaker);
      });
    }

    const badOffsets = {
      'of the future': '9223372036854775807',
      'the largest': '18446744073709551615',
      'too large': '18446744073709551616',
      'a bit ahead': (offset) => String(BigInt(offset) + 1_000_000n),
      'negative': '-1',
      'NaN': 'NaN',
      'empty': '',
      'of 50,000 digits': '1'.repeat(50_000),
      'with two points': (offset) => `${offset}.0.0`,
      'with a huge serial': (offset) => `${offset}.99999999999999999999`,
      'a word': 'latest',
      'a number': (offset) => Number(offset),
      'an object': { $gt: '' },
      'a list': (offset) => [offset],
      'true': true,
    };
    for (const [what, offset] of Object.entries(badOffsets)) {
      test(`a wrong offset: ${what}`, async (t) => {
        const room = freshRoom();
        const session = await lostSession(t, room);
        const wrong = typeof offset === 'function' ? offset(session.offset) : offset;
        const comer = await comesWith(alice, { pid: session.pid, offset: wrong });
        assert.ok(['offset', 'history', 'interrupted'].includes(comer.hello.reason), JSON.stringify(comer.hello));
        assert.notEqual(comer.hello.pid, session.pid);
        await assertFresh(comer, room, session.speaker);
      });
    }

    test("another user's session is unknown, and stays for its owner", async (t) => {
      const room = freshRoom();
      const { pid, offset } = await lostSession(t, room);
      const thief = await comesWith(bob, { pid, offset });
      assert.equal(thief.hello.recovered, false);
      assert.equal(thief.hello.reason, 'unknown');
      assert.notEqual(thief.hello.pid, pid);
      assert.equal((await refused(thief.socket, 'publish', { room, data: 'me too' })).code, 'not_in_room');
      assert.deepEqual(thief.inbox.heard, []);
      const owner = await comesWith(alice, { pid, offset });
      assert.equal(owner.hello.recovered, true);
      await eventually('she heard what she missed', () => owner.inbox.heard.length >= 2);
      assert.deepEqual(owner.inbox.data(room), [3, 4]);
      assert.deepEqual(thief.inbox.disconnects, []);
    });

    test('a session that is still connected is taken over', async () => {
      const room = freshRoom();
      // Without reconnection: closed softly, it would come back and take the session again.
      const options = { ...websocket, auth: { token: alice }, reconnection: false };
      const older = await member(cluster.nodes[0].url, options, room);
      await ok(older.socket, 'publish', { room, data: 'before' });
      await eventually('it is heard', () => older.inbox.heard.length === 1);
      const thief = await comesWith(bob, { pid: older.inbox.hellos()[0].pid, offset: older.inbox.offsets()[0] });
      assert.equal(thief.hello.recovered, false);
      assert.equal(older.socket.connected, true, 'another user ended it');
      const newer = await comesWith(alice, { pid: older.inbox.hellos()[0].pid, offset: older.inbox.offsets()[0] });
      assert.equal(newer.hello.recovered, true);
      await eventually('the older one is closed', () => older.inbox.disconnects.length === 1);
      assert.deepEqual(older.inbox.disconnects, ['transport close']);
      await ok(newer.socket, 'publish', { room, data: 'after' });
      await eventually('it is heard', () => newer.inbox.heard.length === 1);
      assert.deepEqual(older.inbox.data(room), ['before']);
    });

    test('of 1,000 who bring the same pid at once, at most one has the session', async (t) => {
      const room = freshRoom();
      const { pid, offset, speaker } = await lostSession(t, room);
      const comers = numbers(1_000).map(() => {
        const socket = client(cluster.url, { ...websocket, auth: { token: alice, pid, offset }, reconnection: false });
        const inbox = new Inbox(socket);
        const failures = [];
        socket.on('connect_error', (error) => failures.push(error.message));
        socket.connect();
        return { socket, inbox, failures };
      });
      // Let in, or thrown out again by who came later, before it was told anything or after.
      const settled = ({ inbox, failures }) => inbox.hellos().length + inbox.disconnects.length + failures.length > 0;
      await eventually('everybody is answered', () => comers.every(settled), 60_000);
      assert.deepEqual(comers.flatMap(({ failures }) => failures), []);
      const claimed = comers.filter(({ inbox }) => inbox.hellos()[0]?.recovered);
      const holders = () => claimed.filter(({ socket }) => socket.connected);
      await eventually('no more than one has it', () => holders().length <= 1, 60_000);
      await ok(speaker, 'publish', { room, data: 'the end' });
      const [holder] = holders();
      if (holder) await eventually('it hears', () => holder.inbox.data(room).includes('the end'));
      for (const { inbox } of comers) {
        const heard = inbox.data(room);
        // Who had it for a moment heard the beginning of what was missed; nobody else anything.
        assert.deepEqual(heard, inbox.hellos()[0]?.recovered ? [3, 4, 'the end'].slice(0, heard.length) : []);
      }
      const untilTheEnd = comers.filter(({ inbox }) => inbox.data(room).includes('the end'));
      assert.equal(untilTheEnd.length, holder ? 1 : 0);
      const others = comers.filter(({ inbox }) => inbox.hellos()[0] && !inbox.hellos()[0].recovered);
      assert.ok(others.every(({ inbox }) => inbox.hellos()[0].reason === 'replaced'));
      t.diagnostic(`${claimed.length} had it, ${holders().length} has it, ${others.length} got a new one`);
      for (const { socket } of comers) socket.disconnect();
    });

    /** What an operator asks about a user's connections. */
    const control = (user, method = 'GET') => {
      const headers = { Authorization: `Bearer ${ADMIN}` };
      return request(`${cluster.nodes[0].admin}/users/${user}/sockets`, { method, headers });
    };

    test('who leaves on purpose has left', async () => {
      const room = freshRoom();
      const auth = { token: await mintToken(SECRET, '--user', 'carol') };
      const { socket, inbox } = await member(cluster.url, { ...websocket, auth }, room);
      const speaker = await member(cluster.nodes[0].url, { ...websocket, auth: { token: alice } }, room);
      await ok(speaker.socket, 'publish', { room, data: 'heard' });
      await eventually('it is heard', () => inbox.heard.length === 1);
      socket.disconnect();
      // The next connection may lead to another node, and must not overtake this.
      await eventually('she is out', async () => JSON.parse((await control('carol')).body).sockets === 0);
      await ok(speaker.socket, 'publish', { room, data: 'missed' });
      socket.connect();
      await eventually('it is told', () => inbox.hellos().length === 2);
      assert.equal(socket.recovered, false);
      assert.equal(inbox.hellos()[1].reason, 'unknown');
      assert.equal((await refused(socket, 'publish', { room, data: 'me too' })).code, 'not_in_room');
      assert.deepEqual(inbox.data(room), ['heard']);
    });

    test('who is thrown out stays out', async () => {
      const room = freshRoom();
      const auth = { token: await mintToken(SECRET, '--user', 'dave') };
      const { socket, inbox } = await member(cluster.url, { ...websocket, auth }, room);
      assert.equal((await control('dave', 'DELETE')).status, 204);
      await eventually('he is out', () => inbox.disconnects.length === 1);
      assert.deepEqual(inbox.disconnects, ['io server disconnect']);
      socket.connect();
      await eventually('he is told', () => inbox.hellos().length === 2);
      assert.equal(socket.recovered, false);
      assert.equal(inbox.hellos()[1].reason, 'unknown');
      assert.equal((await refused(socket, 'publish', { room, data: 'me too' })).code, 'not_in_room');
    });
  });

  describe(`${kind}, with a short log`, { timeout: 60_000 }, () => {
    let cluster;
    before(async () => {
      cluster = await start({
        GATEWAY_LIMITS__EVENTS_PER_SECOND: '0',
        GATEWAY_LOG__ROOM_EVENTS: String(ROOM_EVENTS),
      });
    });
    after(() => cluster?.stop());

    test('what the log still has is recovered', async (t) => {
      const { inbox, room, other, hello } = await missing(t, cluster, ROOM_EVENTS);
      assert.equal(hello.recovered, true);
      await eventually('it heard what it missed', () => inbox.heard.length >= ROOM_EVENTS + 2);
      assert.deepEqual(inbox.data(room), ['before', ...numbers(ROOM_EVENTS)]);
      assert.deepEqual(inbox.data(other), ['missed']);
    });

    test('what the log has only in part is not recovered in part', async (t) => {
      const { socket, inbox, room, other, hello } = await missing(t, cluster, 2_000);
      assert.equal(hello.recovered, false);
      assert.equal(hello.reason, 'retention');
      assert.equal(socket.recovered, false);
      for (const name of [room, other]) {
        assert.equal((await refused(socket, 'publish', { room: name, data: 'me too' })).code, 'not_in_room');
      }
      assert.deepEqual(inbox.heard.map(({ payload }) => payload.data), ['before']);
    });

    test('a node that cannot make up for what it missed says so', { skip: start === startNode }, async () => {
      const [speaking, deaf] = cluster.nodes;
      const room = 'a gap';
      const said = [];
      const speaker = await member(speaking.url, websocket, room);
      const { inbox } = await member(deaf.url, websocket, room);
      await ok(speaker.socket, 'publish', { room, data: 'before' });
      await eventually('it hears', () => inbox.heard.length === 1);
      cluster.signal(deaf, 'SIGSTOP');
      try {
        await cluster.redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
        // The others heal, and may refuse for as long as that takes.
        for (const data of numbers(1_000)) {
          const ack = await eventually('it is published', async () => {
            const answer = await ask(speaker.socket, 'publish', { room, data });
            return answer.ok && answer;
          });
          said.push(ack.offset);
        }
      } finally {
        cluster.signal(deaf, 'SIGCONT');
      }
      const isGap = ({ event, payload }) => event === 'gateway:gap' && payload.room === room;
      const { payload, offset } = await eventually('it is told', () => inbox.notices.find(isGap));
      assert.deepEqual(Object.keys(payload).sort(), ['reason', 'room', 'through']);
      assert.equal(payload.reason, 'retention');
      assert.equal(offset, undefined);
      const after = await ok(speaker.socket, 'publish', { room, data: 'after' });
      await eventually('it hears', () => inbox.data(room).at(-1) === 'after');
      assertIncreasing(inbox.offsets(), 'who was told');
      // Nothing is missing beyond where it was told that something may be. If the log went on meanwhile, it was told again.
      const through = inbox.notices.filter(isGap).reduce((last, { payload }) => maximum(last, BigInt(payload.through)), 0n);
      const isBeyond = (one) => BigInt(one) > through;
      assert.deepEqual(inbox.offsets().filter(isBeyond), [...said, after.offset].filter(isBeyond));
      assert.deepEqual(inbox.disconnects, []);
    });
  });

  describe(`${kind}, with a short window`, { timeout: 60_000 }, () => {
    let cluster;
    before(async () => {
      cluster = await start({ GATEWAY_RECOVERY__WINDOW: `${WINDOW_SECONDS}s` });
    });
    after(() => cluster?.stop());

    test('who comes back too late is unknown', async (t) => {
      // A session is kept for the window at least; how much longer, in its backend's own time, is not promised.
      const { socket, inbox, room, hello } = await missing(t, cluster, 1, WINDOW_SECONDS * 2_500);
      assert.equal(hello.recovered, false);
      assert.equal(hello.reason, 'unknown');
      assert.equal((await refused(socket, 'publish', { room, data: 'me too' })).code, 'not_in_room');
      assert.deepEqual(inbox.heard.map(({ payload }) => payload.data), ['before']);
    });

    test('who stays connected beyond the window is recovered', async (t) => {
      const proxy = await Proxy.start(cluster.url);
      t.after(() => proxy.stop());
      const { socket, inbox } = await member(proxy.url, { ...SOON, ...websocket }, 'stays');
      await delay(WINDOW_SECONDS * 2_500);
      proxy.cut();
      await eventually('it is told', () => inbox.hellos().length === 2);
      assert.equal(socket.recovered, true);
    });
  });
}
