// A client loses its connection for a moment and goes on where it was: the stock client does it by itself.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { assertIncreasing, connect, member, MODES, ok, refused } from './clients.mjs';
import { configured, eventually, startCluster, startNode } from './harness.mjs';
import { Proxy } from './proxy.mjs';
import { RawClient } from './rawclient.mjs';

const websocket = MODES['websocket only'];
// The client's own delays are for crowds; here nobody else comes back.
const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };

let cluster;
before(async () => {
  cluster = await startCluster({ GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' });
});
after(() => cluster?.stop());

let rooms = 0;
const freshRoom = () => `room ${++rooms}`;
const numbers = (count) => Array.from({ length: count }, (_, number) => number);

/** A member whose connection can be cut, by way of `proxy`. */
async function traveller(t, options = websocket, { to = cluster.url, rooms = [] } = {}) {
  const proxy = await Proxy.start(to);
  t.after(() => proxy.stop());
  const { socket, inbox } = await member(proxy.url, { ...SOON, ...options }, ...rooms);
  // With polling the greeting may be on its way when the client is connected already.
  await eventually('it is greeted', () => inbox.hellos().length === 1);
  return { proxy, socket, inbox };
}

/** Somebody whose connection is never cut, and who counts. */
async function speakerIn(node, ...names) {
  const socket = await connect(node.url, websocket);
  for (const room of names) await ok(socket, 'join', { room });
  let said = 0;
  const offsets = [];
  return {
    socket,
    offsets,
    async say(times, room = names[0]) {
      for (let turn = 0; turn < times; turn++) {
        offsets.push((await ok(socket, 'publish', { room, data: said++ })).offset);
      }
    },
  };
}

/** Cuts the connection and lets nobody in before `meanwhile` is over. */
async function cutDuring({ proxy, socket }, meanwhile) {
  proxy.refusing = true;
  proxy.cut();
  try {
    await eventually('it lost its connection', () => !socket.connected);
    await meanwhile();
  } finally {
    proxy.refusing = false;
  }
}

/** It is connected again, and everybody agrees that it is the same session. */
async function recovered({ socket, inbox }) {
  const { length } = inbox.disconnects;
  await eventually('it is told how it came back', () => socket.connected && inbox.hellos().length > length, 20_000);
  assert.equal(socket.recovered, true, `the client does not say so; ${JSON.stringify(inbox.hellos())}`);
  assert.equal(inbox.hellos().at(-1).recovered, true);
  assert.equal(inbox.hellos().at(-1).pid, inbox.hellos()[0].pid);
}

const WAYS_OUT = {
  'its connection is cut': cutDuring,
  // Where polling is the transport, its server is told; and the client may be back before anything was said.
  'its engine is closed': async ({ socket }, meanwhile) => {
    socket.io.engine.close();
    await meanwhile();
  },
};

test('the first word on every connection is whose session it is', { timeout: 30_000 }, async () => {
  const raw = await RawClient.open(cluster.url);
  raw.send('40');
  await raw.frame((frame) => frame.startsWith('42'));
  const [connected, hello] = raw.frames.slice(1);
  const { pid } = JSON.parse(connected.slice(2));
  assert.match(pid, /^[0-9a-f]{32}$/);
  const [event, session, offset, ...rest] = JSON.parse(hello.slice(2));
  assert.equal(event, 'gateway:session');
  assert.deepEqual(session, { recovered: false, pid });
  assert.ok(offset === null || /^[0-9.]+$/.test(offset), offset);
  assert.deepEqual(rest, []);
  raw.end();
});

test('who says who it is without a token comes back as that again and again, with its name', { timeout: 30_000 }, async (t) => {
  const gone = await traveller(t);
  await ok(gone.socket, 'identify', { user: 'ann' });
  await ok(gone.socket, 'claim', { name: 'Ann of the recovery' });
  const other = await connect(cluster.nodes[1].url, websocket);
  await ok(other, 'identify', { user: 'bob' });
  for (const turn of numbers(3)) {
    const heard = new Promise((resolve) => gone.socket.once('direct', resolve));
    await cutDuring(gone, () => ok(other, 'direct', { user: 'ann', data: turn }));
    await recovered(gone);
    const { user, to, data } = await heard;
    assert.deepEqual({ user, to, data }, { user: 'bob', to: 'ann', data: turn });
  }
  assert.equal((await refused(other, 'claim', { name: 'Ann of the recovery' })).code, 'taken');
});

for (const [mode, options] of Object.entries(MODES)) {
  describe(mode, { timeout: 60_000 }, () => {
    for (const [way, away] of Object.entries(WAYS_OUT)) {
      test(`${way}: what it missed comes once, in order, before what is new`, async (t) => {
        const room = freshRoom();
        const gone = await traveller(t, options, { rooms: [room] });
        const speaker = await speakerIn(cluster.nodes[1], room);
        await speaker.say(5);
        await eventually('it hears', () => gone.inbox.heard.length === 5);
        await away(gone, () => speaker.say(20));
        // New events while it comes back and while it is sent what it missed.
        const back = recovered(gone);
        await Promise.all([back, speaker.say(50)]);
        await speaker.say(5);
        await eventually('it heard as much as was said', () => gone.inbox.heard.length >= 80);
        assert.deepEqual(gone.inbox.data(room), numbers(80));
        assert.deepEqual(gone.inbox.offsets(), speaker.offsets);
        assert.equal(gone.inbox.disconnects.length, 1);
        // A member like before, without joining.
        await ok(gone.socket, 'publish', { room, data: 'back' });
      });
    }

    test('who had heard nothing is recovered too', async (t) => {
      const room = freshRoom();
      const [silent, nowhere] = [await traveller(t, options, { rooms: [room] }), await traveller(t, options)];
      const speaker = await speakerIn(cluster.nodes[1], room);
      await cutDuring(nowhere, () => {});
      await cutDuring(silent, () => speaker.say(10));
      await Promise.all([recovered(silent), recovered(nowhere)]);
      await eventually('it heard as much as was said', () => silent.inbox.heard.length >= 10);
      assert.deepEqual(silent.inbox.data(room), numbers(10));
    });

    test('again and again', async (t) => {
      const room = freshRoom();
      const gone = await traveller(t, options, { rooms: [room] });
      const speaker = await speakerIn(cluster.nodes[1], room);
      for (let turn = 1; turn <= 5; turn++) {
        await cutDuring(gone, () => speaker.say(3));
        await recovered(gone);
        assert.equal(gone.inbox.disconnects.length, turn);
      }
      await eventually('it heard as much as was said', () => gone.inbox.heard.length >= 15);
      assert.deepEqual(gone.inbox.data(room), numbers(15));
    });
  });
}

describe('what a session is', { timeout: 60_000 }, () => {
  test('all its rooms, in one order, bytes and all', async (t) => {
    const names = numbers(20).map(freshRoom);
    const gone = await traveller(t, websocket, { rooms: names });
    const speakers = await Promise.all(cluster.nodes.map((node) => speakerIn(node, ...names)));
    const all = async () => {
      await Promise.all(speakers.map(async (speaker) => {
        for (const room of names) await speaker.say(2, room);
      }));
    };
    await all();
    await ok(gone.socket, 'leave', { room: names[7] });
    await cutDuring(gone, async () => {
      await all();
      await ok(speakers[0].socket, 'publish', { room: names[3], data: Buffer.from('bytes') });
      await all();
    });
    await recovered(gone);
    await all();
    const lastWord = await ok(speakers[2].socket, 'publish', { room: names[0], data: 'the end' });
    await eventually('it heard the end', () => gone.inbox.offsets().includes(lastWord.offset));
    assertIncreasing(gone.inbox.offsets(), 'who came back');
    const perRound = speakers.length * 2;
    names.forEach((room, index) => {
      const extra = Number(index === 3) + Number(index === 0);
      const expected = index === 7 ? perRound : 4 * perRound + extra;
      assert.equal(gone.inbox.data(room).length, expected, `heard in room ${index}`);
    });
    assert.deepEqual(gone.inbox.data(names[3]).filter(Buffer.isBuffer), [Buffer.from('bytes')]);
  });

  test('a replay that had ended is not repeated', async (t) => {
    const room = freshRoom();
    const speaker = await speakerIn(cluster.nodes[0], room);
    await speaker.say(1);
    const [begin] = speaker.offsets;
    await speaker.say(100);
    const gone = await traveller(t);
    const ack = await ok(gone.socket, 'join', { room, after: begin });
    assert.equal(ack.recovered, true);
    assert.deepEqual(gone.inbox.data(room), numbers(101).slice(1), 'the acknowledgement came before the replay');
    assert.ok(gone.inbox.heard.every(({ rest }) => rest.length === 1 && rest[0] === null));
    const replayed = gone.inbox.notices.at(-1);
    assert.deepEqual([replayed.event, replayed.payload], ['gateway:replayed', { room, events: 100 }]);
    assert.match(replayed.offset, /^[0-9]+\.[0-9]+$/);
    await cutDuring(gone, () => speaker.say(10));
    await recovered(gone);
    await speaker.say(1);
    await eventually('it heard as much as was said', () => gone.inbox.heard.length >= 111);
    assert.deepEqual(gone.inbox.data(room), numbers(112).slice(1));
  });

  test('a replay that was cut short is told, and asked for again', async (t) => {
    const [room, other] = [freshRoom(), freshRoom()];
    const speaker = await speakerIn(cluster.nodes[0], room, other);
    await speaker.say(1);
    await speaker.say(900);
    const gone = await traveller(t, websocket, { rooms: [other] });
    // In the middle: what was written before the cut may still arrive, what comes after it cannot.
    gone.socket.on('message', () => {
      if (gone.inbox.heard.length !== 50) return;
      gone.proxy.refusing = true;
      gone.proxy.cut();
    });
    gone.socket.emit('join', { room, after: speaker.offsets[0] });
    await eventually('it lost its connection', () => !gone.socket.connected);
    await speaker.say(5);
    gone.proxy.refusing = false;
    await eventually('it is told', () => gone.inbox.hellos().length === 2);
    const [, hello] = gone.inbox.hellos();
    if (!hello.recovered) {
      assert.equal(hello.reason, 'interrupted');
      assert.equal(gone.socket.recovered, false);
      await ok(gone.socket, 'join', { room, after: gone.inbox.offsets().at(-1) });
    }
    await eventually('it heard as much as was said', () => gone.inbox.data(room).at(-1) === 905);
    assert.deepEqual(gone.inbox.data(room), numbers(906).slice(1));
    t.diagnostic(`recovered: ${hello.recovered}`);
  });

  test('what a sender retries across the cuts is published once, in order', async (t) => {
    const room = freshRoom();
    const listener = await member(cluster.nodes[0].url, websocket, room);
    const sender = await traveller(t, { ...websocket, retries: 50, ackTimeout: 2_000 }, { rooms: [room] });
    // Two bad moments: it is kept and the acknowledgement is under way; the next one has just been sent.
    listener.socket.on('message', ({ data }) => {
      if (data % 40 === 10) sender.proxy.cut();
    });
    const acks = [];
    for (const number of numbers(300)) {
      sender.socket.emit('publish', { room, data: number, id: `order ${number}` }, (error, ack) => {
        acks.push(error ?? ack);
        if (number % 40 === 30) setImmediate(() => sender.proxy.cut());
      });
    }
    await eventually('all are acknowledged', () => acks.length === 300, 50_000);
    assert.deepEqual(acks.filter((ack) => !ack.ok), []);
    for (const { inbox } of [listener, sender]) {
      await eventually('it is heard', () => inbox.heard.length >= 300);
      assert.deepEqual(inbox.data(room), numbers(300));
    }
    assert.ok(sender.inbox.disconnects.length >= 10, `only ${sender.inbox.disconnects.length} cuts`);
    assert.ok(sender.inbox.hellos().slice(1).every((hello) => hello.recovered), 'a cut cost the session');
  });
});

describe('its node is gone', { timeout: 60_000 }, () => {
  test('killed: the session goes on at another one', async (t) => {
    const [staying, , dying] = cluster.nodes;
    const room = freshRoom();
    const members = [];
    for (const options of Object.values(MODES)) {
      members.push(await traveller(t, options, { to: dying.url, rooms: [room] }));
    }
    const silent = await traveller(t, websocket, { to: dying.url });
    const speaker = await speakerIn(staying, room);
    await speaker.say(10);
    for (const { proxy } of [...members, silent]) proxy.target = cluster.url;
    cluster.signal(dying, 'SIGKILL');
    await speaker.say(30);
    assert.equal(await cluster.ended(dying.name), 128 + 9);
    await Promise.all([...members, silent].map(recovered));
    await speaker.say(10);
    for (const { inbox } of members) {
      await eventually('it heard as much as was said', () => inbox.heard.length >= 50);
      assert.deepEqual(inbox.data(room), numbers(50));
    }
    await cluster.startAgain(dying.name);
  });

  test('drained: the session goes on at another one', async (t) => {
    const [staying, leaving] = cluster.nodes;
    const room = freshRoom();
    const gone = await traveller(t, websocket, { to: leaving.url, rooms: [room] });
    const speaker = await speakerIn(staying, room);
    await speaker.say(5);
    gone.proxy.target = cluster.url;
    cluster.signal(leaving, 'SIGTERM');
    await speaker.say(20);
    assert.equal(await cluster.ended(leaving.name, 40_000), 0);
    await recovered(gone);
    await speaker.say(5);
    await eventually('it heard as much as was said', () => gone.inbox.heard.length >= 30);
    assert.deepEqual(gone.inbox.data(room), numbers(30));
    await cluster.startAgain(leaving.name);
  });
});

describe('one node without Redis', { timeout: 60_000 }, () => {
  let alone;
  before(async () => {
    alone = await startNode({ GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' });
  });
  after(() => alone?.stop());

  test('killed and started again, it knows its rooms and its sessions', async (t) => {
    const [node] = alone.nodes;
    const room = freshRoom();
    const gone = await traveller(t, websocket, { to: alone.url, rooms: [room] });
    // A faithful speaker: it is cut off like everybody, and recovered like everybody.
    const speaker = await traveller(t, websocket, { to: alone.url, rooms: [room] });
    const say = async (from, to) => {
      for (let number = from; number < to; number++) await ok(speaker.socket, 'publish', { room, data: number });
    };
    await say(0, 10);
    // The one goes first, so that it misses something that is acknowledged before the node dies.
    gone.proxy.refusing = true;
    gone.proxy.cut();
    await eventually('it lost its connection', () => !gone.socket.connected);
    await say(10, 30);
    alone.signal(node, 'SIGKILL');
    assert.equal(await alone.ended(node.name), 128 + 9);
    await alone.startAgain(node.name);
    await recovered(speaker);
    await say(30, 40);
    gone.proxy.refusing = false;
    await recovered(gone);
    await say(40, 45);
    for (const { inbox } of [gone, speaker]) {
      await eventually('it heard as much as was said', () => inbox.heard.length >= 45);
      assert.deepEqual(inbox.data(room), numbers(45));
      assertIncreasing(inbox.offsets(), 'who came back');
    }
  });
});

describe('what others are told', { timeout: 60_000 }, () => {
  let routed;
  let configuration;
  before(async () => {
    configuration = await configured('[[route]]\nevent = "shout"\naction = "publish"\nto = "others"\n');
    routed = await startCluster(configuration.settings);
  });
  after(async () => {
    await routed?.stop();
    await configuration?.remove();
  });

  test('its sender does not hear it when it comes back, wherever it comes back', async (t) => {
    const room = freshRoom();
    const sender = await traveller(t, websocket, { to: routed.nodes[0].url, rooms: [room] });
    const listener = await member(routed.nodes[1].url, websocket, room);
    const shout = (who, data) => ok(who.socket, 'shout', { room, data });
    await shout(listener, 'to the sender');
    await eventually('it is heard', () => sender.inbox.heard.length === 1);
    for (const node of [routed.nodes[2], routed.nodes[0]]) {
      await shout(sender, `not to the sender, who goes to ${node.name}`);
      sender.proxy.target = node.url;
      await cutDuring(sender, () => shout(listener, `missed, by ${node.name}`));
      await recovered(sender);
      await shout(sender, `not to the sender at ${node.name}`);
      await shout(listener, `to the sender at ${node.name}`);
      await eventually('it is heard', () => sender.inbox.data(room).at(-1) === `to the sender at ${node.name}`);
    }
    const [third, first] = [routed.nodes[2].name, routed.nodes[0].name];
    assert.deepEqual(sender.inbox.data(room), [
      'to the sender',
      `missed, by ${third}`,
      `to the sender at ${third}`,
      `missed, by ${first}`,
      `to the sender at ${first}`,
    ]);
    // The listener's node may come to the sender's last word later than the node of the sender.
    await eventually('the listener heard each of its words', () => listener.inbox.heard.length >= 4);
    assert.equal(listener.inbox.heard.length, 4);
  });
});
