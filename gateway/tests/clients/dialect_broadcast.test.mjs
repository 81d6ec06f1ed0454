// The broadcast dialect: everybody hears everything.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { declared, each, everywhere, FrontEnd, frontEnds, urlOf } from './dialects.mjs';
import { eventually } from './harness.mjs';

const VALUES = [
  'hello',
  'ein Gruß 🌍\n"quoted"',
  '',
  // Looks like an offset.
  '12345',
  42,
  -1.5,
  0,
  true,
  false,
  null,
  [],
  [1, [2, null]],
  { text: 'hi', deep: { list: [{}] } },
  Buffer.from([0, 255, 30]),
];

everywhere('broadcast', {}, (place) => {
  test('all hear the value, the sender too, whatever it is', async () => {
    const everybody = await frontEnds(place, 8);
    const expected = [];
    for (const [turn, value] of VALUES.entries()) {
      everybody[turn % everybody.length].emit('message', value);
      expected.push([value]);
      await each(everybody, (one) => one.hears('message', ...expected));
    }
    for (const one of everybody) {
      assert.equal(one.heard.length, VALUES.length, 'and nothing else');
      assert.equal(one.disconnects, 0);
    }
  });

  test('when all speak at once, all hear all of it, once and in the same order', async () => {
    const [everybody, times] = [await frontEnds(place, 8), 20];
    for (let turn = 0; turn < times; turn++) {
      everybody.forEach((one, number) => one.emit('message', `${number}: ${turn}`));
    }
    const all = everybody.length * times;
    await each(everybody, (one) => eventually(`${one.name} hears all`, () => one.of('message').length >= all));
    // What came twice would come before what the one that spoke last says now.
    everybody[0].emit('message', 'the end');
    await each(everybody, (one) => eventually('the end', () => one.of('message').length > all));
    const [first, ...others] = everybody.map((one) => one.of('message').map((args) => declared(args, 1)[0]));
    assert.equal(new Set(first).size, all + 1);
    assert.equal(first.length, all + 1);
    for (const heard of others) assert.deepEqual(heard, first);
    everybody.forEach((_, number) => {
      const own = first.filter((text) => text.startsWith(`${number}:`));
      assert.deepEqual(own, Array.from({ length: times }, (_, turn) => `${number}: ${turn}`), 'each in its own order');
    });
    for (const one of everybody) one.wasNeverRefused();
  });

  test('who comes later hears what is said from then on', async () => {
    const [speaker] = await frontEnds(place, 1);
    speaker.emit('message', 'before');
    await speaker.hears('message', ['before']);
    const late = await new FrontEnd('the late one', urlOf(place, 2)).connect();
    speaker.emit('message', 'after');
    await late.hears('message', ['after']);
    await speaker.hears('message', ['before'], ['after']);
  });
});
