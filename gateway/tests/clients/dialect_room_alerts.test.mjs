// The dialect with join alerts: rooms whose members hear who comes and what is said, and e-mails to the idle.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, test } from 'node:test';

import { declared, each, everywhere, frontEnds } from './dialects.mjs';
import { eventually } from './harness.mjs';

/** Where e-mails are triggered: a server that remembers what it was sent. */
class Mailer {
  requests = [];
  /** How it answers next, before it is well again. */
  statuses = [];
  #server;

  static async start() {
    const mailer = new Mailer();
    mailer.#server = http.createServer(async (request, response) => {
      const { method, url, headers } = request;
      const body = Buffer.concat(await request.toArray()).toString();
      mailer.requests.push({ method, url, headers, body });
      response.writeHead(mailer.statuses.shift() ?? 201, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ data: { acknowledged: true, status: 'processed' } }));
    });
    mailer.#server.listen(0, '127.0.0.1');
    await once(mailer.#server, 'listening');
    mailer.url = `http://127.0.0.1:${mailer.#server.address().port}`;
    return mailer;
  }

  /** What came for a room. */
  for(room) {
    return this.requests.filter(({ body }) => body.includes(JSON.stringify(room).slice(1, -1)));
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

const mailer = await Mailer.start();
after(() => mailer.stop());

let [rooms, users] = [0, 0];
const freshRoom = () => `room ${++rooms}`;
/** None that was written to before. */
const freshUser = () => `u${++users}`;
const guest = (turn, room) => ({ username: `user ${turn}`, email: `user${turn}@example.test`, room });
const message = (turn, room, text) => ({
  id: `socket ${turn}`,
  room,
  email: `user${turn}@example.test`,
  sender: `user ${turn}`,
  message: text,
  time: '12:05',
});

/** Front ends that have joined a room, one after the other. */
async function membersOf(place, count, room) {
  const members = await frontEnds(place, count);
  for (const [turn, member] of members.entries()) {
    member.emit('join_room', guest(turn, room));
    await member.done();
  }
  return members;
}

const novu = { GATEWAY_NOVU__URL: mailer.url, GATEWAY_NOVU__API_KEY: 'key of the tests' };

everywhere('room-alerts', novu, (place) => {
  test('the others in the room hear who joins', async () => {
    const [room, elsewhere] = [freshRoom(), freshRoom()];
    const [outsider, ...members] = await frontEnds(place, 7);
    outsider.emit('join_room', guest(99, elsewhere));
    await outsider.done();
    for (const [turn, member] of members.entries()) {
      member.emit('join_room', guest(turn, room));
      await member.done();
      const alerts = (since) => members.slice(since, turn + 1).map((_, more) => [guest(since + more, room)]);
      // Each hears who came after it, and never of itself.
      await each(members.slice(0, turn), (earlier, number) => earlier.hears('user_joined', ...alerts(number + 1)));
    }
    members.at(-1).emit('join_room', guest(5, elsewhere));
    await outsider.hears('user_joined', [guest(5, elsewhere)]);
    members.at(-1).heardJust('user_joined');
    for (const one of [outsider, ...members]) one.wasNeverRefused();
  });

  test('the others in the room hear what is said', async () => {
    const [room, elsewhere] = [freshRoom(), freshRoom()];
    const [outsider, ...members] = await frontEnds(place, 7);
    outsider.emit('join_room', guest(99, elsewhere));
    await outsider.done();
    for (const [turn, member] of members.entries()) member.emit('join_room', guest(turn, room));
    await each(members, (member) => member.done());
    const said = members.map((_, turn) => message(turn, room, `ein Gruß ${turn} 🌍`));
    for (const [turn, member] of members.entries()) {
      member.emit('send_message', said[turn]);
      const heardBy = (number) => said.slice(0, turn + 1).filter((_, speaker) => speaker !== number);
      await each(members, (one, number) => one.hears('recieve_message', ...heardBy(number).map((text) => [text])));
    }
    // A session hears all its rooms in one order: had it been sent anything of the other room, it would be here.
    members[0].emit('join_room', guest(0, elsewhere));
    members[0].emit('send_message', message(0, elsewhere, 'for you'));
    await outsider.hears('recieve_message', [message(0, elsewhere, 'for you')]);
    for (const one of [outsider, ...members]) one.wasNeverRefused();
  });

  test('when all speak at once, everybody hears the others in one order', async () => {
    const [room, times] = [freshRoom(), 15];
    const members = await membersOf(place, 6, room);
    for (let turn = 0; turn < times; turn++) {
      members.forEach((member, number) => member.emit('send_message', message(number, room, `${number}: ${turn}`)));
    }
    const others = (members.length - 1) * times;
    await each(members, (one) => eventually('it hears all', () => one.of('recieve_message').length >= others));
    const texts = members.map((one) => one.of('recieve_message').map((args) => declared(args, 1)[0].message));
    for (const [number, heard] of texts.entries()) {
      assert.equal(heard.length, others);
      assert.equal(new Set(heard).size, others);
      const [one, another] = [0, number].map((who) => (text) => !text.startsWith(`${who}:`));
      const common = (text) => one(text) && another(text);
      assert.deepEqual(heard.filter(common), texts[0].filter(common), `client ${number} and client 0`);
    }
  });

  test('an idle user is written to, once for a room however many nodes hear of it', async () => {
    const [room, elsewhere] = [freshRoom(), freshRoom()];
    const [idle, other, third] = await membersOf(place, 3, room);
    const call = { id: freshUser(), room, sender: 'Ann', email: 'ann@example.test' };
    for (const tab of [idle, other, third]) tab.emit('notify-user', call);
    const { method, url, headers, body } = await eventually('it arrives', () => mailer.for(room)[0]);
    assert.equal(method, 'POST');
    assert.equal(url, '/v1/events/trigger');
    assert.match(headers['content-type'], /^application\/json/);
    assert.equal(headers.authorization, 'ApiKey key of the tests');
    const { name, to, payload, transactionId, ...more } = JSON.parse(body);
    assert.deepEqual(more, {});
    for (const text of [name, to.subscriberId, transactionId, ...Object.values(payload)]) {
      assert.ok(['string', 'number'].includes(typeof text) && `${text}` !== '', body);
      assert.doesNotMatch(`${text}`, /[{}]/, 'a placeholder was left');
    }
    assert.equal(to.email, call.email);
    const values = Object.values(payload);
    const header = `Hi Ann you have an active chat at room ${room} login to continue chatting`;
    assert.ok(values.includes(header), body);
    assert.ok(values.length >= 4, `header, time, location, first name: ${body}`);
    const isNow = (value) => Math.abs(new Date(value).getTime() - Date.now()) < 300_000;
    assert.ok(values.some(isNow), `no time in ${body}`);

    // For another room it is another one. What was asked for before it has been dealt with by then, one after the other.
    idle.emit('notify-user', { ...call, room: elsewhere });
    await eventually('that of the other room arrives', () => mailer.for(elsewhere).length >= 1);
    assert.notEqual(JSON.parse(mailer.for(elsewhere)[0].body).transactionId, transactionId);
    // It is nobody else's business, and the room goes on.
    idle.emit('send_message', message(0, room, 'back again'));
    await other.hears('recieve_message', [message(0, room, 'back again')]);
    assert.deepEqual(other.of('notify-user'), []);
    for (const one of [idle, other, third]) {
      await one.done();
      one.wasNeverRefused();
    }
    assert.equal(mailer.for(room).length, 1);
  });

  test('an e-mail is not lost because the mailer failed once', async () => {
    const room = freshRoom();
    const [idle] = await membersOf(place, 1, room);
    mailer.statuses.push(503);
    idle.emit('notify-user', { id: freshUser(), room, sender: 'Ann', email: 'ann@example.test' });
    await eventually('it is sent again', () => mailer.for(room).length >= 2);
    await idle.done();
    const [first, second, ...more] = mailer.for(room);
    assert.deepEqual(more, []);
    assert.equal(second.body, first.body, 'the same transactionId, too');
    idle.wasNeverRefused();
  });
});
