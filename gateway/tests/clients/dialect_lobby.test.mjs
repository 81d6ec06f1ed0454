// The lobby dialect: welcomes, counts, a timer, a namespace, rooms for two, names that only one may have.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { declared, each, everywhere, FrontEnd, frontEnds, urlOf } from './dialects.mjs';
import { eventually } from './harness.mjs';

const WELCOME = [{ description: 'Hey, welcome!' }];
const counted = (number) => [{ description: `${number} clients connected!` }];
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, more) => from + more);

/** A client that has heard that it is the only one: those of the test before have gone. */
async function theOnlyOne(place) {
  const one = await new FrontEnd('the first', urlOf(place, 0)).connect();
  const last = () => one.of('broadcast').at(-1)?.[0]?.description;
  await eventually('it is the only one', () => last() === counted(1)[0].description);
  one.heard = one.heard.filter(({ event }) => event !== 'broadcast');
  return one;
}

/** The number of the room for two that a client was put into; it is told again when somebody joins it there. */
function roomOf(one) {
  const said = one.of('connectToRoom').map((args) => declared(args, 1)[0]);
  assert.equal(new Set(said).size, 1, `${one.name} is in one room: ${said}`);
  const [, number] = said[0].match(/^You are in room no\. ([1-9][0-9]*)$/) ?? assert.fail(said[0]);
  return { number: Number(number), times: said.length };
}

/** A newcomer that gets what it wants, however often it has to come: what somebody left is free a moment later. */
async function eventuallyGets(place, what, wish) {
  return eventually(what, async () => {
    const one = await new FrontEnd('a newcomer', urlOf(place, 1)).connect();
    let isContent = false;
    try {
      isContent = await wish(one);
    } finally {
      if (!isContent) one.socket.disconnect();
    }
    return isContent && one;
  });
}

const isPutIntoRoom = (number) => async (one) => {
  await eventually('it is put into a room', () => one.of('connectToRoom').length > 0);
  return roomOf(one).number === number;
};

/** Asks for a name and returns which of the two answers came. */
async function asks(one, name) {
  const answers = () => [...one.of('userSet'), ...one.of('userExists')];
  const { length } = answers();
  const taken = one.of('userExists').length;
  one.emit('setUsername', name);
  await eventually(`${one.name} has its answer`, () => answers().length > length);
  if (one.of('userExists').length > taken) {
    assert.deepEqual(declared(one.of('userExists').at(-1), 1), [`${name} username is taken! Try some other username.`]);
    return 'userExists';
  }
  assert.deepEqual(declared(one.of('userSet').at(-1), 1), [{ username: name }]);
  return 'userSet';
}

everywhere('lobby', {}, (place) => {
  test('who comes is welcomed, and all are told how many they are', async () => {
    const count = 7;
    const people = [await theOnlyOne(place)];
    for (const present of numbers(2, count)) {
      people.push(await new FrontEnd(`client ${present}`, urlOf(place, present)).connect());
      await each(people, async (one, turn) => {
        const since = Math.max(turn + 1, 2);
        await one.hears('broadcast', ...numbers(since, present).map(counted));
        await one.hears('newclientconnect', WELCOME, ...numbers(turn + 2, present).map(counted));
      });
    }
    // Leaving is told as a count, and welcomes nobody.
    for (const left of [...numbers(2, count - 1)].reverse()) {
      people.pop().socket.disconnect();
      const heard = [...numbers(2, count), ...numbers(left, count - 1).reverse()];
      await people[0].hears('broadcast', ...heard.map(counted));
      await each(people, (one) =>
        eventually('it is told', () => one.of('broadcast').at(-1)[0].description === counted(left)[0].description),
      );
    }
    people[0].heardJust('newclientconnect', WELCOME, ...numbers(2, count).map(counted));
    for (const one of people) one.wasNeverRefused();
  });

  test('of many who come at once, none is left out of the count', async () => {
    const first = await theOnlyOne(place);
    const people = [first, ...(await frontEnds(place, 11))];
    const all = counted(people.length)[0].description;
    await eventually('somebody has counted all', () =>
      people.some((one) => one.of('broadcast').some(([{ description }]) => description === all)),
    );
    await eventually('the first heard of every one', () => first.of('broadcast').length >= people.length - 1);
    for (const one of people) assert.deepEqual(declared(one.of('newclientconnect')[0], 1), WELCOME);
  });

  test('four seconds after connecting, each is sent its messages', async () => {
    const people = await frontEnds(place, 5);
    for (const event of ['message', 'testerEvent']) {
      await each(people, (one) => eventually(`it is sent ${event}`, () => one.of(event).length > 0));
    }
    // Nobody is sent those of others, who came at the same time, nor its own again.
    await each(people, (one) => one.done());
    for (const one of people) {
      one.heardJust('message', ['Sent a message 4seconds after connection!']);
      one.heardJust('testerEvent', [{ description: 'A custom event named testerEvent!' }]);
      for (const { event, at } of one.heard) {
        if (!['message', 'testerEvent'].includes(event)) continue;
        const waited = at - one.connectedAt;
        assert.ok(waited >= 3_500 && waited <= 6_000, `${event} came after ${waited} ms`);
      }
    }
  });

  test('what a client tells is in the log', async () => {
    const [one] = await frontEnds(place, 1);
    const text = `Sent an event from the client, no. ${process.pid}`;
    one.emit('clientEvent', text);
    await one.done();
    await eventually('a node has logged it', async () => {
      const logs = await Promise.all(place.cluster.nodes.map(({ log }) => readFile(log, 'utf8')));
      return logs.some((log) => log.includes(text));
    });
    one.wasNeverRefused();
  });

  test('the namespace greets everybody in it, and is a world of its own', async () => {
    const outside = await theOnlyOne(place);
    const inside = [];
    for (const turn of numbers(0, 4)) {
      inside.push(await new FrontEnd(`inside ${turn}`, `${urlOf(place, turn)}/my-namespace`).connect());
      await each(inside, (one, since) => one.hears('hi', ...numbers(since, turn).map(() => ['Hello everyone!'])));
    }
    outside.emit('msg', { message: 'is anybody there?', user: 'outside' });
    await outside.hears('newmsg', [{ message: 'is anybody there?', user: 'outside' }]);
    outside.heardJust('hi');
    const counts = new Set(outside.of('broadcast').map(([{ description }]) => description));
    assert.deepEqual([...counts].filter((description) => description !== counted(1)[0].description), []);
    for (const one of inside) {
      await one.done();
      assert.deepEqual([...new Set(one.heard.map(({ event }) => event))], ['hi']);
    }
  });

  test('one connection may be in both', async (t) => {
    const main = await new FrontEnd('the main one', urlOf(place, 1)).connect();
    const heard = [];
    const inner = main.socket.io.socket('/my-namespace');
    t.after(() => inner.disconnect());
    inner.onAny((event, ...args) => !event.startsWith('gateway:') && heard.push([event, args]));
    inner.connect();
    await eventually('it is greeted', () => heard.length > 0);
    assert.equal(heard[0][0], 'hi');
    assert.deepEqual(declared(heard[0][1], 1), ['Hello everyone!']);
    await main.hears('newclientconnect', WELCOME);
    main.heardJust('hi');
  });

  test('rooms are filled by two, the first free one first, and never by three', async () => {
    const first = await eventuallyGets(place, 'room 1 is empty', async (one) => {
      await eventually('it is counted', () => one.of('broadcast').length > 0);
      const isAlone = one.of('broadcast').at(-1)[0].description === counted(1)[0].description;
      return isAlone && (await isPutIntoRoom(1)(one));
    });
    const people = [first, ...(await frontEnds(place, 12))];
    await each(people, (one) => eventually('it is put into a room', () => one.of('connectToRoom').length > 0));
    const members = (number) => people.filter((one) => roomOf(one).number === number);
    const sizes = () => numbers(1, 7).map((number) => members(number).length);
    assert.deepEqual(sizes(), [2, 2, 2, 2, 2, 2, 1]);
    for (const number of numbers(1, 6)) {
      // Who was there first is told again when the second comes. Of two who come at once, both may be told twice.
      const times = () => members(number).map((one) => roomOf(one).times).sort().join();
      await eventually(`both in room ${number} are told`, () => ['1,2', '2,2'].includes(times()));
    }
    assert.equal(roomOf(members(7)[0]).times, 1);

    // What gets free is filled again, and only that.
    const [gone] = members(3);
    const stays = members(3)[1];
    const before = roomOf(stays).times;
    people.splice(people.indexOf(gone), 1);
    gone.socket.disconnect();
    const next = await eventuallyGets(place, 'the free place is taken', isPutIntoRoom(3));
    await eventually('who stayed is told', () => roomOf(stays).times > before);
    people.push(next, await eventuallyGets(place, 'the last place is taken', isPutIntoRoom(7)));
    assert.deepEqual(sizes(), [2, 2, 2, 2, 2, 2, 2]);
  });

  test('a name is held by one', async () => {
    const people = await frontEnds(place, 6);
    const [holder, ...others] = people;
    assert.equal(await asks(holder, 'Zoë 🌍'), 'userSet');
    for (const one of others) assert.equal(await asks(one, 'Zoë 🌍'), 'userExists');
    assert.equal(await asks(others[0], 'somebody else'), 'userSet');
    for (const one of others.slice(1)) assert.deepEqual(one.of('userSet'), [], 'it is told to its holder alone');
    holder.socket.disconnect();
    const heir = others[1];
    await eventually('the name is free again', async () => (await asks(heir, 'Zoë 🌍')) === 'userSet');
    assert.equal(await asks(others[2], 'Zoë 🌍'), 'userExists');
    for (const one of others) one.wasNeverRefused();
  });

  test('of many who want a name at once, one gets it', async () => {
    const people = await frontEnds(place, 12);
    for (const name of ['first', 'second', 'third']) {
      const answers = await each(people, (one) => asks(one, name));
      assert.equal(answers.filter((answer) => answer === 'userSet').length, 1, `${name}: ${answers}`);
    }
  });

  test('what one says, all hear', async () => {
    const people = await frontEnds(place, 8);
    const said = [];
    for (const [turn, one] of people.entries()) {
      const object = { message: `ein Gruß ${turn} 🌍`, user: `user ${turn}` };
      one.emit('msg', object);
      said.push([object]);
      await each(people, (other) => other.hears('newmsg', ...said));
    }
    for (const one of people) one.wasNeverRefused();
  });
});
