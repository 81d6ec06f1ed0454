// Texts that JSON can say and others cannot: halves of characters, which JavaScript cuts out of emojis; numbers of any
// length. They arrive as they were sent, and what is odd about one field of `auth` keeps nobody out.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { client, connect, connectError, Inbox, member, MODES, ok, refused, settle } from './clients.mjs';
import { eventually, mintToken, startCluster, startNode } from './harness.mjs';
import { RawClient } from './rawclient.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';
// As `slice` leaves it, or the `maxLength` of an input.
const CUT = 'good morning 😀'.slice(0, -1);
const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };

const KINDS = { 'three nodes': startCluster, 'one node without Redis': startNode };

for (const [kind, start] of Object.entries(KINDS)) {
  describe(kind, { timeout: 60_000 }, () => {
    let cluster;
    before(async () => (cluster = await start()));
    after(() => cluster?.stop());

    for (const [mode, options] of Object.entries(MODES)) {
      test(`${mode}: what is cut in the middle of an emoji is heard as it is, and stays so in the log`, async () => {
        const room = `cut ${mode}`;
        const values = [CUT, { [CUT]: 1 }, [[CUT.slice(-1)], '😀', CUT.slice(-1) + CUT]];
        const { socket, inbox } = await member(cluster.url, options, room);
        const far = await member(cluster.nodes.at(-1).url, MODES['websocket only'], room);
        for (const data of values) await ok(socket, 'publish', { room, data });
        for (const heard of [inbox, far.inbox]) {
          await eventually('all are heard', () => heard.heard.length === values.length);
          assert.deepEqual(heard.data(room), values);
        }
        const { events } = await ok(socket, 'history', { room });
        assert.deepEqual(events.map(({ args }) => args[0].data), values);
      });
    }

    for (const [mode, options] of Object.entries(MODES)) {
      test(`${mode}: beside bytes everything stays as it was sent`, async () => {
        const room = `bytes ${mode}`;
        const { socket, inbox } = await member(cluster.url, options, room);
        const bytes = Buffer.from([0, 159, 146, 150]);
        const values = [
          { text: CUT, bytes },
          { [CUT]: bytes, whole: '😀' },
          { zeta: 1, alpha: bytes, mid: 2, 10: 3, 9: [bytes, { text: 'ü\u2028', more: [bytes] }] },
          { none: null, empty: Buffer.alloc(0), more: [null, bytes] },
        ];
        for (const data of values) await ok(socket, 'publish', { room, data });
        await eventually('all are heard', () => inbox.heard.length === values.length);
        inbox.data(room).forEach((data, index) => {
          assert.deepEqual(data, values[index]);
          assert.deepEqual(Object.keys(data), Object.keys(values[index]));
        });
        const { events } = await ok(socket, 'history', { room });
        assert.deepEqual(events.map(({ args }) => args[0].data), values);
      });
    }

    test('numbers beyond those of JavaScript arrive digit by digit beside bytes', async () => {
      const raw = await RawClient.inRooms(cluster.url, 'numbers and bytes');
      const data = '{"zeta":123456789012345678901234567890,"f":1.10,"b":{"_placeholder":true,"num":0},"alpha":-0}';
      await raw.ask(`["publish",{"room":"numbers and bytes","data":${data}}]`, Buffer.from('x'));
      const heard = await raw.frame((frame) => frame.startsWith('451-["message"'));
      assert.ok(heard.includes(data), heard);
      raw.end();
    });

    // JavaScript writes names plainly; Foundation, org.json and PHP write `\/`, Python and Jackson `\u00e9`.
    test('the name of an event is what its JSON says, however it is escaped', async () => {
      const raw = await RawClient.inRooms(cluster.url, 'names');
      for (const name of ['join', 'j\\u006fin', '\\u006aoin']) {
        assert.deepEqual(await raw.ask(`["${name}",{"room":"names"}]`).then(({ ok }) => ok), true, name);
      }
      for (const name of ['no\\/route', 'no \\"route\\"', '\\u00e9v\\u00e9nement', 'сообщение', CUT.slice(-1), '\\ud83d']) {
        const { error } = await raw.ask(`["${name}",{"room":"names"}]`);
        assert.equal(error.code, 'unknown_event', name);
      }
      await raw.ask('["publish",{"room":"names","event":"caf\\u00e9\\/\\"x\\"","data":1}]');
      const heard = await raw.frame((frame) => frame.startsWith('42["caf'));
      assert.equal(JSON.parse(heard.slice(2))[0], 'café/"x"');
      raw.end();
    });

    test('half a character in the name of a room is refused, and the client stays', async () => {
      const { socket, inbox } = await member(cluster.url, MODES['websocket only']);
      const { code, message } = await refused(socket, 'join', { room: CUT });
      assert.equal(code, 'bad_request');
      assert.match(message, /\{arg\.room\} is a text with half a character/);
      await ok(socket, 'join', { room: 'whole', [CUT]: CUT });
      assert.deepEqual(inbox.disconnects, []);
    });

    test('numbers that not all clients can read are refused', async () => {
      const raw = await RawClient.inRooms(cluster.url, 'long numbers');
      for (const number of ['7'.repeat(150), `-0.${'3'.repeat(150)}`, '1e999']) {
        const { error } = await raw.ask(`["publish",{"room":"long numbers","data":[${number}]}]`);
        assert.equal(error.code, 'bad_request', number);
        assert.match(error.message, /a number in it is longer/);
      }
      raw.end();
    });

    test('numbers beyond those of JavaScript arrive digit by digit', async () => {
      const raw = await RawClient.inRooms(cluster.url, 'numbers');
      const data = '{"zeta":123456789012345678901234567890,"f":1.10,"alpha":-0,"10":1e99}';
      await raw.ask(`["publish",{"room":"numbers","data":${data}}]`);
      const heard = await raw.frame((frame) => frame.startsWith('42["message"'));
      assert.ok(heard.includes(data), heard);
      raw.end();
    });

    // What people write into `auth` where nobody needs a token.
    for (const [what, auth] of Object.entries({
      'nothing': undefined,
      'a token that is no text': { token: 1234 },
      'a token in an object': { token: { jwt: 'x' } },
      'a token that is false': { token: false },
      'a token that is null': { token: null },
      'half a character': { name: CUT, [CUT]: { deep: [CUT] } },
    })) {
      test(`with ${what} in auth a client comes back to its session`, async () => {
        const { socket, inbox } = await member(cluster.url, { ...MODES['websocket only'], ...SOON, auth }, 'back');
        socket.io.engine.close();
        await eventually('it is back', () => inbox.hellos().length === 2);
        assert.equal(socket.recovered, true);
        assert.equal(inbox.hellos()[1].recovered, true);
      });
    }

    test('an offset of its own keeps a client from its session, and it is told', async () => {
      const auth = { offset: 5 };
      // In a room, so that it has been greeted before it loses its connection.
      const { socket, inbox } = await member(cluster.url, { ...MODES['websocket only'], ...SOON, auth }, 'greeted');
      socket.io.engine.close();
      await eventually('it is back', () => inbox.hellos().length === 2);
      assert.deepEqual([inbox.hellos()[1].recovered, inbox.hellos()[1].reason], [false, 'offset']);
    });

    test('offsets may be the text of an object', async () => {
      const [first, second] = ['é', 'b'];
      const speaker = await connect(cluster.url, MODES['websocket only']);
      const before = [];
      for (const room of [first, second]) {
        await ok(speaker, 'join', { room });
        before.push((await ok(speaker, 'publish', { room, data: 'known' })).offset);
        await ok(speaker, 'publish', { room, data: 'missed' });
      }
      // As python-socketio's `json.dumps` writes it, and Java's `auth` can hold it.
      const offsets = `{"\\u00e9":"${before[0]}","b":"${before[1]}"}`;
      const { inbox } = await member(cluster.url, { ...MODES['websocket only'], auth: { offsets } });
      await eventually('it hears what it missed', () => inbox.heard.length === 2);
      assert.deepEqual([inbox.data(first), inbox.data(second)], [['missed'], ['missed']]);
      assert.deepEqual(inbox.hellos().map(({ recovered, rooms }) => [recovered, rooms.toSorted()]), [[true, ['b', 'é']]]);
    });
  });
}

describe('where tokens are needed', { timeout: 60_000 }, () => {
  let cluster;
  let token;
  before(async () => {
    cluster = await startNode({ GATEWAY_AUTH__SECRET: SECRET });
    token = await mintToken(SECRET, '--user', 'bob');
  });
  after(() => cluster?.stop());

  test('an odd name keeps nobody out whose token is good', async () => {
    for (const more of [{ name: CUT }, { [CUT]: 1 }, { user: { name: [CUT] } }, { offset: { a: 1 }, offsets: 7 }]) {
      const socket = client(cluster.url, { ...MODES['websocket only'], auth: { token, ...more } });
      const inbox = new Inbox(socket);
      await settle(socket, MODES['websocket only']);
      await ok(socket, 'join', { room: 'r' });
      await ok(socket, 'publish', { room: 'r', data: 1 });
      await eventually('it is heard', () => inbox.heard.length === 1);
      assert.equal(inbox.heard[0].payload.user, 'bob');
      socket.disconnect();
    }
  });

  test('a token that is no text lets nobody in, with a reason', async () => {
    for (const odd of [1234, true, false, { jwt: token }, [token], CUT]) {
      const error = await connectError(cluster.url, { ...MODES['websocket only'], auth: { token: odd } });
      assert.deepEqual(error, { message: 'unauthorized: the token is not valid here', triesAgain: false });
    }
    const { message } = await connectError(cluster.url, { ...MODES['websocket only'], auth: { token: null } });
    assert.match(message, /^unauthorized: a token is required/);
  });
});

test('a route gives on what auth says, whatever else is in it', { timeout: 60_000 }, async (t) => {
  const cluster = await startNode({ GATEWAY_PROFILE: 'persistent-chat' });
  t.after(() => cluster.stop());
  for (const auth of [{ author: CUT }, { author: 'ann', token: 7 }, { author: 'bob', [CUT]: CUT }]) {
    const socket = await connect(cluster.url, { ...MODES['websocket only'], auth: { ...auth, serverOffset: 0 } });
    const authors = [];
    socket.on('chat message', (text, _, author) => authors.push(author));
    socket.emit('chat message', 'hi');
    await eventually('its author is heard', () => authors.at(-1) === auth.author);
    socket.disconnect();
  }
});
