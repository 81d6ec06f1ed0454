// What a route table of one's own does: namespaces, rates, schemas, rooms with seats, names, reloading.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { ask, client, connect, Inbox, ok, refused } from './clients.mjs';
import { configured, eventually, startCluster } from './harness.mjs';

const WEBSOCKET = { transports: ['websocket'] };

const TABLE = `
[[route]]
event = "order"
action = "publish"
room = "orders"
allow = ["anyone"]
args = [{ item = "{arg.item}", note = "{arg.note|none}" }]
rate = { per_second = 1, burst = 3 }
max_bytes = 500
schema = { type = "object", required = ["item"], properties = { item = { type = "object", properties = { count = { type = "integer", maximum = 10 } } } } }

[[route]]
event = "sit"
action = "join"
room = "{arg}"
capacity = 3

[[route]]
event = "table"
action = "join"
room = "table-{number}"
auto = true
capacity = 2

[[route]]
event = "$join"
action = "publish"
room = "{room}"
emit = "came"
args = [{ room = "{room}", members = "{members}" }]

[[route]]
event = "$leave"
action = "publish"
room = "{room}"
emit = "went"
args = [{ room = "{room}", members = "{members}" }]

[[route]]
event = "name"
action = "claim"
name = "{arg}"
emit = "named"
args = ["{name}"]
refused = { emit = "nameless", args = ["{name} is taken"] }

[[route]]
event = "shout"
action = "broadcast"

[[route]]
event = "shout"
action = "broadcast"
namespace = "/other"

[[route]]
event = "join"
action = "join"
namespace = "/other"

[[route]]
event = "publish"
action = "publish"
namespace = "/other"
emit = "message"
args = [{ room = "{room}", data = "{arg.data}" }]

[[route]]
event = "mumble"
action = "typing"
room = "{arg.room}"
ttl = "1s"
`;

let cluster;
let files;
before(async () => {
  files = await configured(TABLE);
  cluster = await startCluster({ ...files.settings, GATEWAY_PRESENCE__LEASE: '3s', GATEWAY_PRESENCE__LINGER: '1s' });
});
after(async () => {
  await cluster?.stop();
  await files?.remove();
});

/** A client on each node. */
const everywhere = (options = {}) =>
  Promise.all(cluster.nodes.map((node) => connect(node.url, { ...WEBSOCKET, ...options })));

/** What a socket hears of one event. */
function heard(socket, event) {
  const all = [];
  socket.on(event, (...args) => all.push(args));
  return all;
}

describe('what an event may be', { timeout: 60_000 }, () => {
  test('a schema refuses by the path and never repeats the payload', async () => {
    const socket = await connect(cluster.url, WEBSOCKET);
    const error = await refused(socket, 'order', { item: { count: 11, secret: 'hunter2' } });
    assert.equal(error.code, 'bad_request');
    assert.match(error.message, /item\/count/);
    assert.doesNotMatch(error.message, /hunter2|11/);
    await ok(socket, 'order', { item: { count: 10 } });
  });

  test('a rate is each session\'s own and says when to come back', async () => {
    const [socket, other] = [await connect(cluster.url, WEBSOCKET), await connect(cluster.url, WEBSOCKET)];
    for (let count = 0; count < 3; count += 1) await ok(socket, 'order', { item: {} });
    const error = await refused(socket, 'order', { item: {} });
    assert.equal(error.code, 'rate_limited');
    assert.ok(error.retryAfterMs > 0 && error.retryAfterMs <= 1000, `${error.retryAfterMs}`);
    await ok(other, 'order', { item: {} });
  });

  test('what is larger than its route allows is refused although the gateway would take it', async () => {
    const socket = await connect(cluster.url, WEBSOCKET);
    assert.equal((await refused(socket, 'order', { item: {}, note: 'x'.repeat(500) })).code, 'too_large');
  });

  test('a value that is missing is named', async () => {
    const socket = await connect(cluster.url, WEBSOCKET);
    assert.match((await refused(socket, 'mumble', {})).message, /\{arg\.room\}/);
  });
});

describe('rooms with seats', { timeout: 60_000 }, () => {
  test('a room takes as many members as it has seats, on all nodes together', async () => {
    const sockets = (await Promise.all([1, 2, 3, 4].map(() => everywhere()))).flat();
    const acks = await Promise.all(sockets.map((socket) => ask(socket, 'sit', 'three seats')));
    const sitting = acks.filter((ack) => ack.ok).length;
    assert.equal(sitting, 3);
    for (const ack of acks.filter((answer) => !answer.ok)) assert.equal(ack.error.code, 'room_full');
    const member = sockets[acks.findIndex((ack) => ack.ok)];
    await ok(member, 'leave', { room: 'three seats' });
    await ok(sockets[acks.findIndex((ack) => !ack.ok)], 'sit', 'three seats');
    assert.equal((await ok(member, 'sit', 'another')).room, 'another');
  });

  test('numbered rooms fill up one after the other', async () => {
    const sockets = (await Promise.all([1, 2, 3].map(() => everywhere()))).flat();
    const acks = await Promise.all(sockets.map((socket) => ok(socket, 'table')));
    const counts = {};
    for (const { room } of acks) counts[room] = (counts[room] ?? 0) + 1;
    assert.ok(Object.values(counts).every((count) => count <= 2), JSON.stringify(counts));
    assert.equal(Object.keys(counts).length, 5, JSON.stringify(counts));
    for (const number of [1, 2, 3, 4, 5]) assert.ok(counts[`table-${number}`], JSON.stringify(counts));
  });

  test('members are told once who came and who went, and a client that comes back in time did neither', async () => {
    const watcher = await connect(cluster.nodes[0].url, WEBSOCKET);
    const [came, went] = [heard(watcher, 'came'), heard(watcher, 'went')];
    await ok(watcher, 'sit', 'watched');
    // By itself it would wait for up to a second and a half, and that is longer than sessions linger here.
    const socket = await connect(cluster.nodes[1].url, { ...WEBSOCKET, reconnectionDelay: 50, reconnectionDelayMax: 100 });
    await ok(socket, 'sit', 'watched');
    await eventually('both came', () => came.length === 2);
    assert.deepEqual(came.map(([told]) => told.members), [1, 2]);
    socket.io.engine.close();
    await eventually('it is back', () => socket.connected);
    await ok(socket, 'leave', { room: 'watched' });
    await eventually('it went', () => went.length === 1);
    assert.equal(came.length, 2);
    assert.equal(went[0][0].members, 1);
  });

  test('who does not come back has gone after a while', async () => {
    const watcher = await connect(cluster.nodes[0].url, WEBSOCKET);
    const went = heard(watcher, 'went');
    await ok(watcher, 'sit', 'left behind');
    const socket = await connect(cluster.nodes[1].url, WEBSOCKET);
    await ok(socket, 'sit', 'left behind');
    socket.io.reconnection(false);
    socket.io.engine.close();
    await eventually('it went', () => went.length === 1);
    const { count, members } = await ok(watcher, 'presence', { room: 'left behind' });
    assert.equal(count, 1);
    assert.equal(members.length, 1);
    assert.equal(members[0].user, null);
    assert.ok(Math.abs(Date.now() - members[0].since) < 60_000);
  });

  test('presence is paged', async () => {
    const sockets = await everywhere();
    await Promise.all(sockets.map((socket) => ok(socket, 'join', { room: 'pages' })));
    const first = await ok(sockets[0], 'presence', { room: 'pages', limit: 2 });
    assert.equal(first.count, 3);
    assert.equal(first.members.length, 2);
    const second = await ok(sockets[0], 'presence', { room: 'pages', limit: 2, after: first.next });
    assert.equal(second.members.length, 1);
    assert.equal(second.next, undefined);
    const all = [...first.members, ...second.members].map(({ member }) => member);
    assert.equal(new Set(all).size, 3);
    const outsider = await connect(cluster.url, WEBSOCKET);
    assert.equal((await refused(outsider, 'presence', { room: 'pages' })).code, 'not_in_room');
  });
});

describe('names', { timeout: 60_000 }, () => {
  test('one session in the cluster holds a name, until it leaves or takes another', async () => {
    const [one, two] = await everywhere();
    const [named, nameless, refusals] = [heard(one, 'named'), heard(two, 'nameless'), heard(two, 'refused')];
    one.emit('name', 'zoë');
    await eventually('it has its name', () => named.length === 1);
    assert.equal(named[0][0], 'zoë');
    two.emit('name', 'zoë');
    await eventually('it is told', () => nameless.length === 1);
    assert.equal(nameless[0][0], 'zoë is taken');
    assert.equal((await refused(two, 'name', 'zoë')).code, 'taken');
    await ok(one, 'name', 'chloë');
    await ok(two, 'name', 'zoë');
    one.disconnect();
    await eventually('the name is free', async () => (await ask(two, 'name', 'chloë')).ok);
    assert.deepEqual(refusals, []);
  });

  test('what looks like it is the same name, and each is told its own as it was given', async () => {
    const [one, two] = await everywhere();
    const [named, nameless] = [heard(one, 'named'), heard(two, 'nameless')];
    await ok(one, 'name', 'Paypal Íris');
    const alike = ['paypal íris', 'PAYPAL I\u0301RIS', 'PaypaI Íris', 'Ｐaypal  Íris\u200b', 'Pаypаl Íris'];
    for (const name of alike) assert.equal((await refused(two, 'name', name)).code, 'taken', name);
    const told = (events) => events.map(([text]) => text);
    assert.deepEqual(told(nameless), alike.map((name) => `${name} is taken`));
    assert.equal((await refused(two, 'name', ' \u200b\u2800')).code, 'bad_request');
    // What was refused left nothing behind, and a name may be written anew by whoever holds it.
    await ok(two, 'name', 'Paypal Irina');
    await ok(one, 'name', 'PAYPAL ÍRIS');
    assert.deepEqual(told(named), ['Paypal Íris', 'PAYPAL ÍRIS']);
    await ok(one, 'name', 'somebody else');
    await ok(two, 'name', 'paypal íris');
    await ok(one, 'name', 'paypal irina');
  });

  test('a name that somebody took who looks like it is lost, and told as it was given', async () => {
    const one = client(cluster.nodes[0].url, { ...WEBSOCKET, reconnection: false });
    const inbox = new Inbox(one);
    one.connect();
    await eventually('it is there', () => one.connected && inbox.hellos().length === 1);
    await ok(one, 'name', 'Ägypten');
    one.io.engine.close();
    await eventually('it is away', () => !one.connected);
    const two = await connect(cluster.nodes[1].url, WEBSOCKET);
    await eventually('it has been away too long', async () => (await ask(two, 'name', 'ägypten ')).ok);
    one.connect();
    await eventually('it is back', () => inbox.hellos().length === 2);
    assert.deepEqual([inbox.hellos()[1].recovered, inbox.hellos()[1].lostNames], [true, ['Ägypten']]);
    await ok(two, 'name', 'another');
    await ok(one, 'name', 'Ägypten');
  });
});

describe('namespaces', { timeout: 60_000 }, () => {
  test('rooms and broadcasts of one are not those of another, over one connection', async () => {
    const main = client(cluster.url, WEBSOCKET);
    const other = main.io.socket('/other');
    after(() => other.disconnect());
    const far = await connect(`${cluster.nodes[2].url}/other`, WEBSOCKET);
    main.connect();
    other.connect();
    await eventually('both are in', () => main.connected && other.connected);
    const inboxes = [main, other, far].map((socket) => new Inbox(socket));
    const shouts = [main, other, far].map((socket) => heard(socket, 'shout'));
    for (const socket of [main, other, far]) await ok(socket, 'join', { room: 'same name' });
    await ok(main, 'publish', { room: 'same name', data: 'main' });
    await ok(far, 'publish', { room: 'same name', data: 'other' });
    await ok(main, 'shout', 'to main');
    await ok(far, 'shout', 'to other');
    await eventually('all is heard', () => shouts[0].length + shouts[1].length + shouts[2].length === 3);
    assert.deepEqual(shouts.map((list) => list.map(([text]) => text)), [['to main'], ['to other'], ['to other']]);
    const messages = (inbox) => inbox.heard.filter(({ event }) => event === 'message').map(({ payload }) => payload.data);
    assert.deepEqual(inboxes.map(messages), [['main'], ['other'], ['other']]);
    // Leaving one leaves the other alone.
    other.disconnect();
    await ok(main, 'publish', { room: 'same name', data: 'again' });
    assert.equal(main.connected, true);
  });

  test('a session of another namespace comes back there', async () => {
    const socket = await connect(`${cluster.url}/other`, WEBSOCKET);
    const inbox = new Inbox(socket);
    const far = await connect(`${cluster.nodes[1].url}/other`, WEBSOCKET);
    for (const one of [socket, far]) await ok(one, 'join', { room: 'returning' });
    await ok(far, 'publish', { room: 'returning', data: 'before' });
    await eventually('it is heard', () => inbox.heard.length === 1);
    socket.io.engine.close();
    await ok(far, 'publish', { room: 'returning', data: 'meanwhile' });
    await eventually('it is back', () => socket.connected && inbox.heard.length === 2);
    assert.equal(socket.recovered, true);
    assert.deepEqual(inbox.data('returning'), ['before', 'meanwhile']);
  });

  test('a namespace that no route names does not exist', async () => {
    const socket = client(`${cluster.url}/nowhere`, WEBSOCKET);
    const error = await new Promise((resolve) => {
      socket.once('connect_error', resolve);
      socket.connect();
    });
    assert.match(error.message, /namespace/i);
  });
});

describe('typing', { timeout: 60_000 }, () => {
  test('the others are told once, and again when it ends by itself', async () => {
    const [one, two] = await everywhere();
    const [own, others] = [heard(one, 'mumble'), heard(two, 'mumble')];
    for (const socket of [one, two]) await ok(socket, 'join', { room: 'talk' });
    for (let count = 0; count < 3; count += 1) await ok(one, 'mumble', { room: 'talk' });
    await eventually('it has ended', () => others.length === 2, 5_000);
    assert.deepEqual(others.map(([told]) => told.typing), [true, false]);
    await ok(one, 'mumble', { room: 'talk' });
    await ok(one, 'mumble', { room: 'talk', typing: false });
    await eventually('it has ended at once', () => others.length === 4, 900);
    assert.deepEqual(own, []);
  });
});

describe('reloading', { timeout: 60_000 }, () => {
  test('a good file is taken, a bad one changes nothing and is told with its line', async () => {
    const socket = await connect(cluster.nodes[0].url, WEBSOCKET);
    assert.equal((await refused(socket, 'whisper', 'x')).code, 'unknown_event');
    const file = files.file;
    const before = await readFile(file, 'utf8');
    const reload = () => cluster.nodes.forEach((node) => cluster.signal(node, 'SIGHUP'));
    const log = () => readFile(cluster.nodes[0].log, 'utf8');
    await writeFile(file, `${before}\n[[route]]\nevent = "whisper"\naction = "mutter"\n`);
    reload();
    await eventually('the mistake is told', async () => /gateway\.toml:\d+: .*mutter/.test(await log()));
    await ok(socket, 'shout', 'still here');
    await writeFile(file, `${before}\n[[route]]\nevent = "whisper"\naction = "broadcast"\n[[route]]\nevent = "$connect"\naction = "signal"\nto = "self"\nnamespace = "/late"\nemit = "welcome"\nargs = []\n`);
    reload();
    await eventually('it is taken', async () => (await ask(socket, 'whisper', 'y')).ok);
    await eventually('its namespace is open', async () => {
      const late = client(`${cluster.nodes[0].url}/late`, { ...WEBSOCKET, reconnection: false });
      const welcomed = heard(late, 'welcome');
      late.connect();
      await delay(100);
      return welcomed.length === 1;
    });
    await writeFile(file, before);
    reload();
    await eventually('it is gone again', async () => (await ask(socket, 'whisper', 'z')).error?.code === 'unknown_event');
    assert.equal(socket.connected, true);
  });
});
