// The notifier dialect: tokens, rooms, and notifications that only one user hears.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { before, describe, test } from 'node:test';

import { connectError, MODES } from './clients.mjs';
import { each, everywhere, FrontEnd, frontEnds, urlOf } from './dialects.mjs';
import { eventually, mintToken } from './harness.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';

const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

/** A token as any library makes it. */
function signed(claims, secret = SECRET) {
  const content = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`;
}

const seconds = (fromNow) => Math.floor(Date.now() / 1000) + fromNow;

let rooms = 0;
const freshRoom = () => `room ${++rooms}`;

/** What is the same with tokens and without. `connect` makes front ends of these users. */
function theSameForAll(place, connect) {
  test('the others in a room hear who joins', async () => {
    const [room, elsewhere] = [freshRoom(), freshRoom()];
    const [outsider, ...members] = await connect(['eve', 'alice', 'bob', 'carol', 'dave']);
    outsider.emit('joinRoom', elsewhere);
    await outsider.done();
    const alert = [`User joined room: ${room}`];
    for (const [turn, member] of members.entries()) {
      member.emit('joinRoom', room);
      await member.done();
      if (turn === 0) {
        // Nobody hears that it came. Once it has heard what it said after that, nobody will who comes later.
        member.emit('chatMessage', { room, message: 'here' });
        await member.hears('chatMessage', [{ user: 'alice', message: 'here' }]);
      }
      await each(members.slice(0, turn), (earlier, number) =>
        earlier.hears('message', ...members.slice(number + 1, turn + 1).map(() => alert)),
      );
      member.heardJust('message');
    }
    members[0].emit('joinRoom', elsewhere);
    await outsider.hears('message', [`User joined room: ${elsewhere}`]);
    for (const one of [outsider, ...members]) one.wasNeverRefused();
  });

  test('what is said in a room, all in it hear, with the name of who said it', async () => {
    const [room, elsewhere] = [freshRoom(), freshRoom()];
    const names = ['alice', 'bob', 'carol', 'dave'];
    const [outsider, ...members] = await connect(['eve', ...names]);
    outsider.emit('joinRoom', elsewhere);
    for (const member of members) member.emit('joinRoom', room);
    await each([outsider, ...members], (one) => one.done());
    const said = [];
    for (const [turn, member] of members.entries()) {
      // The name is the gateway's to say.
      member.emit('chatMessage', { room, message: `ein Gruß ${turn} 🌍`, user: 'mallory' });
      said.push([{ user: names[turn], message: `ein Gruß ${turn} 🌍` }]);
      await each(members, (other) => other.hears('chatMessage', ...said));
    }
    members[0].emit('joinRoom', elsewhere);
    members[0].emit('chatMessage', { room: elsewhere, message: 'for you' });
    await outsider.hears('chatMessage', [{ user: 'alice', message: 'for you' }]);
    for (const one of [outsider, ...members]) one.wasNeverRefused();
  });

  test('what is said to nobody in particular, all hear', async () => {
    const everybody = await connect(['alice', 'bob', 'carol', 'dave', 'eve']);
    const said = [];
    for (const [turn, one] of everybody.entries()) {
      one.emit('chatMessage', `to all, no. ${turn}`);
      said.push([`to all, no. ${turn}`]);
      await each(everybody, (other) => other.hears('chatMessage', ...said));
    }
    for (const one of everybody) one.wasNeverRefused();
  });

  test('a message of any kind reaches all', async () => {
    const everybody = await connect(['alice', 'bob', 'carol', 'dave', 'eve']);
    const sent = [];
    for (const [turn, value] of ['a text', 7, null, { text: 'an object', list: [1, {}] }, [true]].entries()) {
      everybody[turn].emit('sendMessage', value);
      sent.push([value]);
      await each(everybody, (one) => one.hears('receiveMessage', ...sent));
    }
    for (const one of everybody) one.wasNeverRefused();
  });

  test('a notification reaches all sessions of its receiver, and nobody else', async () => {
    const [sender, bystander, ...receivers] = await connect(['alice', 'bob', 'carol', 'carol', 'carol', 'carol']);
    sender.emit('sendNotification', { receiverId: 'carol', message: 'for carol' });
    await each(receivers, (one) => one.hears('receiveNotification', [{ message: 'for carol' }]));
    sender.emit('sendNotification', { receiverId: 'nobody', message: 'for nobody' });
    // One sender's events are done in order: what comes last comes after what should not have come.
    sender.emit('broadcastNotification', 'for all');
    const all = [{ message: 'for all' }];
    await each(receivers, (one) => one.hears('receiveNotification', [{ message: 'for carol' }], all));
    await each([sender, bystander], (one) => one.hears('receiveNotification', all));
    for (const one of [sender, bystander, ...receivers]) one.wasNeverRefused();
  });
}

everywhere('notifier', { GATEWAY_AUTH__SECRET: SECRET }, (place) => {
  describe('with tokens', () => {
    const tokens = {};
    before(async () => {
      for (const name of ['alice', 'bob', 'carol', 'dave', 'eve']) {
        tokens[name] = await mintToken(SECRET, '--user', name);
      }
    });
    const connect = (names) => frontEnds(place, names.length, (turn) => ({ auth: { token: tokens[names[turn]] } }));

    const strangers = {
      'no auth': [undefined, 'Authentication error'],
      'no token': [{}, 'Authentication error'],
      'something that is no token': [{ token: 'let me in' }, 'Invalid token'],
      'a forged token': [{ token: signed({ sub: 'alice', exp: seconds(3600) }, 'guessed') }, 'Invalid token'],
      'a token that has expired': [{ token: signed({ sub: 'alice', exp: seconds(-3600) }) }, 'Invalid token'],
    };
    for (const [mode, options] of Object.entries(MODES)) {
      for (const [what, [auth, expected]] of Object.entries(strangers)) {
        test(`${mode}: ${what} is not let in`, async () => {
          const { message, triesAgain } = await connectError(place.cluster.url, { ...options, auth });
          assert.equal(message, expected);
          assert.equal(triesAgain, false);
        });
      }
    }

    test('a token of another library is let in', async () => {
      const auth = { token: signed({ sub: 'alice', exp: seconds(60) }) };
      await new FrontEnd('alice', urlOf(place, 0), { auth }).connect();
    });

    test('nobody can register as somebody else', async () => {
      const [mallory, alice] = await connect(['eve', 'alice']);
      mallory.emit('registerUser', 'alice');
      await mallory.done();
      alice.emit('sendNotification', { receiverId: 'alice', message: 'a secret' });
      await alice.hears('receiveNotification', [{ message: 'a secret' }]);
      alice.emit('broadcastNotification', 'for all');
      await mallory.hears('receiveNotification', [{ message: 'for all' }]);
      mallory.emit('chatMessage', 'hello');
      await alice.hears('chatMessage', ['hello']);
      const room = freshRoom();
      for (const one of [mallory, alice]) one.emit('joinRoom', room);
      await each([mallory, alice], (one) => one.done());
      mallory.emit('chatMessage', { room, message: 'it is me' });
      await eventually('it is heard', () => alice.of('chatMessage').length >= 2);
      assert.deepEqual(alice.of('chatMessage')[1][0], { user: 'eve', message: 'it is me' });
    });

    theSameForAll(place, connect);
  });
});

everywhere('notifier', {}, (place) => {
  describe('without tokens', () => {
    const connect = async (names) => {
      const people = await frontEnds(place, names.length);
      people.forEach((one, turn) => one.emit('registerUser', names[turn]));
      await each(people, (one) => one.done());
      return people;
    };

    test('who has not registered is sent no notification of a user', async () => {
      const [sender, ...others] = await frontEnds(place, 4);
      const [registers, waits] = others;
      registers.emit('registerUser', 'frank');
      await registers.done();
      sender.emit('sendNotification', { receiverId: 'frank', message: 'one' });
      await registers.hears('receiveNotification', [{ message: 'one' }]);
      waits.emit('registerUser', 'frank');
      await waits.done();
      sender.emit('sendNotification', { receiverId: 'frank', message: 'two' });
      await waits.hears('receiveNotification', [{ message: 'two' }]);
      await registers.hears('receiveNotification', [{ message: 'one' }], [{ message: 'two' }]);
      sender.emit('broadcastNotification', 'for all');
      await others[2].hears('receiveNotification', [{ message: 'for all' }]);
      for (const one of [sender, ...others]) one.wasNeverRefused();
    });

    theSameForAll(place, connect);
  });
});
