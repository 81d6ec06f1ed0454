// What clients should not send: it is refused or ends their own connection, and nobody else notices.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, before, describe, test } from 'node:test';

import { connect, connectError, Inbox, ok, refusal, refused } from './clients.mjs';
import { eventually, request, startCluster } from './harness.mjs';
import { RawClient } from './rawclient.mjs';

const ROOM = 'bystanders';
const LIMIT_BYTES = 65_536;

let cluster;
let target; // the node that is attacked
let near; // a bystander on that node
let far; // a bystander on another node

before(async () => {
  // Without the rate limit, which would answer before what is tested here is looked at.
  cluster = await startCluster({ GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' });
  target = cluster.nodes[0];
  [near, far] = await Promise.all([target, cluster.nodes[1]].map(bystander));
});
after(() => cluster?.stop());

async function bystander(node) {
  const socket = await connect(node.url, { transports: ['websocket'] });
  const inbox = new Inbox(socket);
  await ok(socket, 'join', { room: ROOM });
  return { socket, inbox };
}

// After every test: every process still runs, no node has panicked, and the bystanders, who were never
// disconnected, hear each other.
let rounds = 0;
afterEach(async () => {
  cluster.assertAllAlive();
  assert.deepEqual(await cluster.panics(), []);
  const words = [`near ${++rounds}`, `far ${rounds}`];
  await ok(near.socket, 'publish', { room: ROOM, data: words[0] });
  await ok(far.socket, 'publish', { room: ROOM, data: words[1] });
  for (const { inbox } of [near, far]) {
    await eventually('the bystanders hear each other', () => words.every((word) => inbox.data(ROOM).includes(word)));
    assert.deepEqual(inbox.disconnects, []);
  }
});

/** Runs `work`, after which a metric of the attacked node must have grown by at least `by`. */
async function grows(name, labels, by, work) {
  const before = await cluster.metric(target, name, labels);
  const result = await work();
  await eventually(`${name}${JSON.stringify(labels)} grows by ${by}`, async () => {
    return (await cluster.metric(target, name, labels)) >= before + by;
  });
  return result;
}

const countedRefusal = (code, by, work) => grows('gateway_refusals_total', { code }, by, work);
const countedClose = (work) => grows('gateway_connections_closed_total', {}, 1, work);

/** The address of a long-polling session that was opened by hand. */
async function pollingSession() {
  const endpoint = `${target.url}/socket.io/?EIO=4&transport=polling`;
  const { body } = await request(endpoint);
  return `${endpoint}&sid=${JSON.parse(body.slice(1)).sid}`;
}

const attacker = () => connect(target.url, { transports: ['websocket'] });

describe('events', { timeout: 180_000 }, () => {
  test('names that cannot be a room', async () => {
    const socket = await attacker();
    const names = ['', 'x'.repeat(300), 'ü'.repeat(150), 'a\u0000b', 'line\nbreak', '\u0001canary', '\u007f'];
    await countedRefusal('bad_room', names.length, async () => {
      for (const room of names) assert.equal((await refused(socket, 'join', { room })).code, 'bad_room', room);
    });
    for (const room of [null, true, {}, [ROOM], undefined]) {
      const { code } = await refused(socket, 'join', { room });
      assert.ok(['bad_room', 'bad_request'].includes(code), `${code} for ${JSON.stringify(room)}`);
    }
    for (const room of ['x'.repeat(255), 'Zürich 🌍', 'a/b:c', '__proto__']) await ok(socket, 'join', { room });
    assert.equal((await ok(socket, 'join', { room: 42 })).room, '42', 'a number is its digits');
  });

  test('events that nobody has defined', async () => {
    const socket = await attacker();
    const names = ['nope', 'Publish', 'publish ', '', '__proto__', '$connect', 'x'.repeat(1000)];
    await countedRefusal('unknown_event', names.length, async () => {
      for (const event of names) assert.equal((await refused(socket, event, {})).code, 'unknown_event', event);
    });
  });

  test('arguments of the wrong kind', async () => {
    const socket = await attacker();
    await ok(socket, 'join', { room: ROOM });
    const lists = [[], [5], [null], ['text'], [true], [[]], [[ROOM, 1]], [Buffer.from('bytes')]];
    await countedRefusal('bad_request', lists.length, async () => {
      for (const args of lists) assert.equal((await refused(socket, 'publish', ...args)).code, 'bad_request');
    });
    for (const event of [{}, '', [], 'x'.repeat(1000)]) {
      assert.equal((await refused(socket, 'publish', { room: ROOM, event, data: 1 })).code, 'bad_request');
    }
    for (const query of [{ after: 'x' }, { after: -1 }, { before: {} }, { limit: 'many' }, { limit: -5 }]) {
      assert.equal((await refused(socket, 'history', { room: ROOM, ...query })).code, 'bad_request');
    }
  });

  test('names that mean something to the client library', async () => {
    const socket = await attacker();
    await ok(socket, 'join', { room: ROOM });
    for (const event of ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']) {
      assert.equal((await refused(socket, 'publish', { room: ROOM, event, data: 1 })).code, 'bad_request', event);
      assert.equal((await refused(socket, 'signal', { room: ROOM, event, data: 1 })).code, 'bad_request', event);
    }
  });

  test('a refusal of an event without acknowledgement is an event', async () => {
    const socket = await attacker();
    const cases = [
      ['not_in_room', 'publish', { room: ROOM, data: 1 }],
      ['bad_room', 'join', { room: '' }],
      ['unknown_event', 'nope'],
      ['bad_request', 'publish', 'text'],
    ];
    for (const [code, event, ...args] of cases) {
      const heard = once(socket, 'refused', { signal: AbortSignal.timeout(10_000) });
      await countedRefusal(code, 1, () => socket.emit(event, ...args));
      const answers = await heard;
      assert.equal(answers.length, 1);
      assert.equal(refusal(answers[0], event).code, code);
    }
  });

  test('a room under two names in one object', async () => {
    const raw = await RawClient.inRooms(target.url, 'own');
    const smuggled = [
      `{"room":"own","room":"${ROOM}","data":"smuggled"}`,
      `{"room":"${ROOM}","room":"own","data":"smuggled"}`,
      `{"room":"own","data":"smuggled","\\u0072oom":"${ROOM}"}`,
    ];
    for (const body of smuggled) {
      await raw.ask(`["publish",${body}]`);
      await raw.ask(`["signal",${body.replace('}', ',"event":"x"}')}]`);
    }
    await ok(near.socket, 'publish', { room: ROOM, data: 'after the smuggling' });
    for (const { inbox } of [near, far]) {
      await eventually('the later event is heard', () => inbox.data(ROOM).includes('after the smuggling'));
      assert.ok(!inbox.data(ROOM).includes('smuggled'));
    }
    raw.end();
  });

  test('JSON so deep that parsers give up', async () => {
    const raw = await RawClient.inRooms(target.url, ROOM);
    const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth);
    for (const depth of [1_000, 30_000]) {
      const ack = await raw.ask(`["publish",{"room":"${ROOM}","data":${nested(depth)}}]`);
      assert.equal(refusal(ack, `depth ${depth}`).code, 'bad_request');
    }
    const harmless = await raw.ask(`["publish",{"room":"${ROOM}","data":${nested(20)}}]`);
    assert.equal(harmless.ok, true);
    raw.end();
  });

  test('half a character', async () => {
    const raw = await RawClient.inRooms(target.url, ROOM);
    const joined = await raw.ask('["join",{"room":"\\ud800"}]');
    assert.ok(['bad_room', 'bad_request'].includes(refusal(joined, 'the join').code));
    // In data it is either refused, or reaches members as what it is.
    const published = await raw.ask(`["publish",{"room":"${ROOM}","data":"\\ud800"}]`);
    if (published.ok) await eventually('it is heard', () => far.inbox.data(ROOM).includes('\ud800'));
    else assert.equal(refusal(published, 'the publish').code, 'bad_request');
    raw.end();
  });
});

describe('binary placeholders', { timeout: 180_000 }, () => {
  // The member's decoder ends its connection on a placeholder without attachment: one event, everybody out.
  const good = '{"_placeholder":true,"num":0}';
  const broken = {
    'beyond the attachments': '{"_placeholder":true,"num":1}',
    'far beyond': '{"_placeholder":true,"num":4294967296}',
    negative: '{"_placeholder":true,"num":-1}',
    'not a whole number': '{"_placeholder":true,"num":0.5}',
    'a string': '{"_placeholder":true,"num":"0"}',
    'without number': '{"_placeholder":true}',
    'spelt with an escape': '{"\\u005fplaceholder":true,"num":7}',
  };
  for (const [what, placeholder] of Object.entries(broken)) {
    test(`a number that is ${what} beside a good one`, async () => {
      const raw = await RawClient.inRooms(target.url, ROOM);
      const body = `{"room":"${ROOM}","data":[${good},${placeholder}]}`;
      const ack = await countedRefusal('bad_request', 1, () => raw.ask(`["publish",${body}]`, Buffer.from('bytes')));
      assert.equal(refusal(ack, body).code, 'bad_request');
      const signal = `{"room":"${ROOM}","event":"x","data":[${good},${placeholder}]}`;
      assert.equal(refusal(await raw.ask(`["signal",${signal}]`, Buffer.from('bytes')), signal).code, 'bad_request');
      raw.end();
    });
  }

  test('one in an event without attachments does no harm, in the history either', async () => {
    const room = 'placeholders';
    const raw = await RawClient.inRooms(target.url, room);
    const member = await connect(cluster.nodes[2].url);
    const inbox = new Inbox(member);
    await ok(member, 'join', { room });
    await raw.ask(`["publish",{"room":"${room}","data":{"_placeholder":true,"num":99}}]`);
    await raw.ask(`["publish",{"room":"${room}","data":{"_placeholder":true,"num":0}}]`);
    await raw.ask(`["publish",{"room":"${room}","data":${good}}]`, Buffer.from('real bytes'));
    await eventually('the event with bytes is heard', () => inbox.data(room).some(Buffer.isBuffer));
    // One answer carries the attachments of several events: a false placeholder must not reach into another's.
    const { events } = await ok(member, 'history', { room });
    const bytes = events.map(({ args }) => args[0].data).filter(Buffer.isBuffer);
    assert.deepEqual(bytes, [Buffer.from('real bytes')]);
    assert.deepEqual(inbox.disconnects, []);
    raw.end();
  });

  test('an attachment that nothing refers to', async () => {
    const raw = await RawClient.inRooms(target.url, ROOM);
    const ack = await raw.ask(`["publish",{"room":"${ROOM}","data":"no reference"}]`, Buffer.from('bytes'));
    if (!ack.ok) assert.equal(refusal(ack, 'it').code, 'bad_request');
    raw.end();
  });
});

describe('packets', { timeout: 180_000 }, () => {
  // What may come of each. Where the protocol leaves it open, being ignored is as good as being closed.
  const packets = [
    ['no packet at all', ['garbage'], ['closed']],
    ['an empty frame', [''], ['closed', 'ignored']],
    ['a message with nothing in it', ['4'], ['closed']],
    ['an event cut short', ['42['], ['closed', 'refused']],
    ['an object in place of an event', ['42{}'], ['closed', 'refused']],
    ['an event without a name', ['42[]'], ['closed', 'refused']],
    ['an event with a number for a name', ['42[1,2]'], ['closed', 'refused']],
    ['an event with rubbish behind it', ['42["join",{"room":"a"}]]'], ['closed', 'refused']],
    ['the end of an upgrade that never began', ['5'], ['closed', 'ignored']],
    ['a probe outside of an upgrade', ['2probe'], ['closed', 'ignored']],
    ['a pong that nobody asked for', ['3'], ['closed', 'ignored']],
    ['more attachments than anybody may send', ['459999-["publish",{}]'], ['closed', 'refused']],
    ['a number of attachments that is none', ['45x-["publish",{}]'], ['closed']],
    ['a binary event that counts to zero', [`450-["publish",{"room":"${ROOM}","data":1}]`], ['closed', 'refused']],
    ['an event in place of an attachment', ['451-["publish",{"_placeholder":true,"num":0}]', '42["x"]'], ['closed']],
    ['an attachment without its event', [Buffer.from('bytes')], ['closed', 'ignored']],
    // An answer that comes too late looks the same, and its sender did nothing wrong.
    ['an answer to a question that was not asked', ['4399[]', '430[{"ok":true}]'], ['ignored']],
    ['an answer to an impossible question', ['43999999999999999999999[{}]'], ['closed', 'ignored']],
    ['an id larger than any number', ['4299999999999999999999["join",{"room":"a"}]'], ['closed', 'refused', 'ignored']],
    ['a packet type that does not exist', ['49["x"]'], ['closed']],
    ['a packet for a namespace that was not joined', ['42/nope,["join",{"room":"a"}]'], ['closed', 'ignored']],
    ['a namespace without end', [`40/${'x'.repeat(10_000)}`], ['closed', 'ignored']],
  ];
  for (const [what, frames, allowed] of packets) {
    test(what, async () => {
      const raw = await RawClient.inRooms(target.url);
      await countedClose(async () => {
        for (const frame of frames) raw.send(frame);
        const outcome = await raw.outcome();
        assert.ok(allowed.includes(outcome), `it was ${outcome}`);
        raw.end();
      });
    });
  }

  test('text that is not UTF-8', async () => {
    const raw = await RawClient.inRooms(target.url);
    await countedClose(async () => {
      raw.send(Buffer.from([0x34, 0x32, 0x5b, 0x22, 0xff, 0xfe, 0x22, 0x5d]), { asText: true });
      await eventually('the connection is closed', () => raw.closed);
    });
  });

  test('an event before there is a session', async () => {
    const raw = await RawClient.open(target.url);
    raw.send(`421["join",{"room":"${ROOM}"}]`);
    await eventually('the connection is closed', () => raw.closed);
  });

  test('an attachment that never comes', async () => {
    const raw = await RawClient.inRooms(target.url, ROOM);
    raw.send(`451-["publish",{"room":"${ROOM}","data":{"_placeholder":true,"num":0}}]`);
    // Others are served while it is awaited, and nothing of the half event is heard, even in the end.
    await ok(near.socket, 'publish', { room: ROOM, data: 'meanwhile' });
    await eventually('it is heard', () => far.inbox.data(ROOM).includes('meanwhile'));
    raw.end();
    assert.ok(far.inbox.data(ROOM).every((data) => !Buffer.isBuffer(data) && data?._placeholder === undefined));
  });

  test('a thousand sessions on one connection', async () => {
    const raw = await RawClient.inRooms(target.url);
    for (let turn = 0; turn < 1_000; turn++) raw.send('40');
    await raw.outcome();
    const sessions = raw.frames.filter((frame) => frame.startsWith('40{'));
    assert.equal(sessions.length, 1, 'one connection has one session');
    raw.end();
  });

  test('a thousand namespaces on one connection', async () => {
    const raw = await RawClient.open(target.url);
    for (let turn = 0; turn < 1_000; turn++) raw.send(`40/tenant-${turn},`);
    await eventually('it is closed, or every one is refused', () => {
      const errors = raw.frames.filter((frame) => frame.startsWith('44/tenant-'));
      return raw.closed || errors.length === 1_000;
    }, 20_000);
    assert.ok(raw.frames.every((frame) => !frame.startsWith('40/')), 'no namespace was made');
    raw.end();
  });

  test('an official client in a namespace that does not exist', async () => {
    const answer = await connectError(`${target.url}/nope`, { transports: ['websocket'] });
    assert.deepEqual(answer, { message: 'Invalid namespace', triesAgain: false });
  });
});

describe('too much', { timeout: 180_000 }, () => {
  for (const transport of ['websocket', 'polling']) {
    test(`a message larger than allowed, by ${transport}`, async () => {
      const socket = await connect(target.url, { transports: [transport], reconnection: false });
      await ok(socket, 'join', { room: ROOM });
      const closed = once(socket, 'disconnect', { signal: AbortSignal.timeout(10_000) });
      await countedClose(async () => {
        socket.emit('publish', { room: ROOM, data: 'x'.repeat(LIMIT_BYTES + 4_096) });
        const [reason] = await closed;
        assert.ok(['transport close', 'transport error'].includes(reason), reason);
      });
    });
  }

  test('attachments that are small each and large together', async () => {
    const socket = await connect(target.url, { transports: ['websocket'], reconnection: false });
    await ok(socket, 'join', { room: ROOM });
    const data = Array.from({ length: 8 }, () => Buffer.alloc(20_000));
    const outcome = await Promise.race([
      refused(socket, 'publish', { room: ROOM, data }).then(({ code }) => code),
      once(socket, 'disconnect').then(() => 'closed'),
    ]);
    assert.ok(['too_large', 'closed'].includes(outcome), outcome);
  });

  test('a message as large as allowed reaches everybody', async () => {
    const socket = await attacker();
    await ok(socket, 'join', { room: ROOM });
    const data = 'y'.repeat(LIMIT_BYTES - 1_024);
    await ok(socket, 'publish', { room: ROOM, data });
    await eventually('it is heard on another node', () => far.inbox.data(ROOM).includes(data));
  });

  test('thousands of events in one request', async () => {
    const session = await pollingSession();
    await request(session, { method: 'POST', body: '40' });
    const body = Array(5_000).fill('42["nope"]').join('\x1e');
    const { status } = await request(session, { method: 'POST', body });
    assert.ok(status < 500, `the server answered ${status}`);
  });

  test('more rooms than a session may be in', async () => {
    const socket = await attacker();
    for (let room = 0; room < 100; room++) await ok(socket, 'join', { room: `many ${room}` });
    assert.equal((await refused(socket, 'join', { room: 'one more' })).code, 'too_many_rooms');
    await ok(socket, 'join', { room: 'many 7' });
    await ok(socket, 'leave', { room: 'many 7' });
    await ok(socket, 'join', { room: 'one more' });
  });
});

describe('requests', { timeout: 180_000 }, () => {
  const bad = {
    'a session that does not exist': ['GET', 'EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA'],
    'a message for a session that does not exist': ['POST', 'EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA'],
    'another version of the protocol': ['GET', 'EIO=9&transport=polling'],
    'no version of the protocol': ['GET', 'transport=polling'],
    'a transport that does not exist': ['GET', 'EIO=4&transport=pigeon'],
    'a handshake by POST': ['POST', 'EIO=4&transport=polling'],
    'a websocket without an upgrade': ['GET', 'EIO=4&transport=websocket'],
  };
  for (const [what, [method, query]] of Object.entries(bad)) {
    test(what, async () => {
      const body = method === 'POST' ? '40' : undefined;
      const { status } = await request(`${target.url}/socket.io/?${query}`, { method, body });
      assert.ok(status >= 400 && status < 500, `the server answered ${status}`);
    });
  }

  test('rubbish in a request of a session ends the session', async () => {
    const session = await pollingSession();
    const { status } = await request(session, { method: 'POST', body: Buffer.from([0xff, 0x1e, 0x00]) });
    assert.ok(status < 500, `the server answered ${status}`);
    await eventually('the session is over', async () => (await request(session)).status === 400);
  });
});
