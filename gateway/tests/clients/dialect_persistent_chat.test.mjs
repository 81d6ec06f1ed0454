// The dialect of the chat that forgets nothing: history, catching up, coming back, and who is typing.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertIncreasing, closeClients } from './clients.mjs';
import { declared, each, everywhere, FrontEnd, inAll, restartNodes, urlOf, whereItIsKept } from './dialects.mjs';
import { eventually } from './harness.mjs';
import { Proxy } from './proxy.mjs';

const CHAT = 'chat message';
// The client's own delays are for crowds; here nobody else comes back.
const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
const numbers = (count) => Array.from({ length: count }, (_, number) => number);

/** A chat window as applications write it: it remembers how far it has read, for the next time it connects. */
class Chat extends FrontEnd {
  constructor(author, url, { serverOffset = 0, ...options } = {}) {
    const auth = { userName: `${author} the user`, author, token: '', serverOffset };
    super(author, url, { ...SOON, auth, ...options });
    this.socket.on(CHAT, (text, offset) => {
      this.socket.auth.serverOffset = offset;
    });
  }

  say(text) {
    this.emit(CHAT, text);
  }

  /** What was heard of one topic: the log is the same for all tests. */
  about(topic) {
    const all = this.of(CHAT).map((args) => declared(args, 3));
    return all.filter(([text]) => text.startsWith(`${topic} `));
  }

  async hearsAbout(topic, count) {
    await eventually(`${this.name} hears ${count} about ${topic}`, () => this.about(topic).length >= count);
    assertIncreasing(this.about(topic).map(([, offset]) => offset), this.name);
    assert.deepEqual(this.about(topic).map(([text]) => text), numbers(count).map((number) => `${topic} ${number}`));
  }
}

function chats(place, authors, optionsOf = () => ({})) {
  return each(authors, (author, turn) => new Chat(author, urlOf(place, turn), optionsOf(turn)).connect());
}

let topics = 0;
const freshTopic = () => `topic ${process.pid}.${++topics}:`;

/** Says so many things about a topic, and waits until they are heard. */
function speaker(chat, topic) {
  let said = 0;
  return async (times) => {
    for (let turn = 0; turn < times; turn++) chat.say(`${topic} ${said++}`);
    await chat.hearsAbout(topic, said);
  };
}

/** Says so many things about a topic, all at once, and waits until they are heard and archived. */
async function converse(place, people, topic, times) {
  const before = await inAll(place, 'gateway_archive_events_total');
  for (const turn of numbers(times)) people[turn % people.length].say(`${topic} ${turn}`);
  await eventually('they are heard', () => people[0].about(topic).length >= times);
  const archived = async () => (await inAll(place, 'gateway_archive_events_total')) - before;
  await eventually('all of it is archived', async () => (await archived()) >= times, 30_000);
}

everywhere('persistent-chat', {}, (place) => {
  test('all hear the text, how far that is, and whose it is', async () => {
    const topic = freshTopic();
    const people = await chats(place, ['Ann', 'Bob', 'Zoë', 'Dan', 'Eve', 'Flo']);
    for (const [turn, one] of people.entries()) {
      one.say(`${topic} ${turn}`);
      await each(people, (other) => other.hearsAbout(topic, turn + 1));
    }
    assert.deepEqual(people[0].about(topic).map(([, , author]) => author), people.map(({ name }) => name));
    for (const one of people) {
      assert.deepEqual(one.about(topic), people[0].about(topic));
      one.wasNeverRefused();
    }
  });

  test('when all speak at once, all hear all of it, once and in the same order', async () => {
    const [topic, times] = [freshTopic(), 15];
    const people = await chats(place, ['Ann', 'Bob', 'Cyd', 'Dan', 'Eve', 'Flo']);
    for (const turn of numbers(times)) people.forEach((one) => one.say(`${topic} ${one.name} ${turn}`));
    const all = people.length * times;
    await each(people, (one) => eventually('it hears all', () => one.about(topic).length >= all));
    people[0].say(`${topic} the end`);
    await each(people, (one) => eventually('it hears the end', () => one.about(topic).length > all));
    const first = people[0].about(topic);
    assert.equal(new Set(first.map(([text]) => text)).size, all + 1);
    assertIncreasing(first.map(([, offset]) => offset), 'everybody');
    for (const [text, , author] of first.slice(0, -1)) assert.ok(text.startsWith(`${topic} ${author} `), text);
    for (const one of people) assert.deepEqual(one.about(topic), first);
  });

  test('who comes for the first time is told everything, oldest first', async () => {
    const topic = freshTopic();
    const [ann] = await chats(place, ['Ann']);
    const say = speaker(ann, topic);
    await say(30);
    const people = await chats(place, ['Bob', 'Cyd', 'Dan', 'Eve']);
    await each(people, (one) => one.hearsAbout(topic, 30));
    for (const one of people) assert.deepEqual(one.about(topic), ann.about(topic), 'as it was heard then');
    await say(3);
    await each(people, (one) => one.hearsAbout(topic, 33));
  });

  test('who has read up to an offset is told what came after it', async () => {
    const topic = freshTopic();
    const [ann] = await chats(place, ['Ann']);
    const say = speaker(ann, topic);
    await say(20);
    const [, serverOffset] = ann.about(topic)[12];
    const people = await chats(place, ['Bob', 'Cyd', 'Dan', 'Eve'], () => ({ serverOffset }));
    await say(1);
    const expected = ann.of(CHAT).map((args) => declared(args, 3)).slice(-8);
    await each(people, async (one) => {
      await eventually('it has caught up', () => one.of(CHAT).length >= expected.length);
      // Nothing at all that is older, whatever it is about.
      assert.deepEqual(one.of(CHAT).map((args) => declared(args, 3)), expected);
    });
  });

  test('who has read everything is told nothing', async () => {
    const topic = freshTopic();
    const [ann] = await chats(place, ['Ann']);
    const say = speaker(ann, topic);
    await say(5);
    const [, serverOffset] = ann.about(topic).at(-1);
    const [bob] = await chats(place, ['Bob'], () => ({ serverOffset }));
    await say(1);
    await eventually('it hears what is new', () => bob.of(CHAT).length >= 1);
    assert.deepEqual(bob.about(topic).map(([text]) => text), [`${topic} 5`]);
    assert.equal(bob.of(CHAT).length, 1);
  });

  test('what is said while somebody catches up comes after it, once', async () => {
    const topic = freshTopic();
    const [ann] = await chats(place, ['Ann']);
    const say = speaker(ann, topic);
    await say(30);
    const [people] = await Promise.all([chats(place, ['Bob', 'Cyd', 'Dan', 'Eve']), say(30)]);
    await say(1);
    await each(people, (one) => one.hearsAbout(topic, 61));
  });

  test('a session that comes back goes on where it was, by itself', async (t) => {
    const topic = freshTopic();
    const proxy = await Proxy.start(place.cluster.url);
    t.after(() => proxy.stop());
    const [ann] = await chats(place, ['Ann']);
    const bob = await new Chat('Bob', proxy.url).connect();
    const say = speaker(ann, topic);
    await say(5);
    await bob.hearsAbout(topic, 5);
    const before = bob.of(CHAT).length;
    for (const turn of [1, 2, 3]) {
      proxy.refusing = true;
      proxy.cut();
      try {
        await eventually('it lost its connection', () => !bob.socket.connected);
        await say(10);
      } finally {
        proxy.refusing = false;
      }
      await eventually('it is back', () => bob.socket.connected, 20_000);
      assert.equal(bob.socket.recovered, true);
      await say(1);
      await bob.hearsAbout(topic, 5 + turn * 11);
      assert.equal(bob.disconnects, turn);
    }
    assert.equal(bob.of(CHAT).length, before + 33, 'nothing came twice, nothing of old came again');
    bob.say(`${topic} 38`);
    await ann.hearsAbout(topic, 39);
    assert.equal(ann.about(topic).at(-1)[2], 'Bob', 'it is still the same author');
  });

  test('a session that does not come back catches up by its offset', async () => {
    const topic = freshTopic();
    const [ann, bob] = await chats(place, ['Ann', 'Bob']);
    const say = speaker(ann, topic);
    await say(5);
    await bob.hearsAbout(topic, 5);
    const before = bob.of(CHAT).length;
    // Leaving on purpose ends the session.
    bob.socket.disconnect();
    await say(10);
    await bob.connect();
    assert.equal(bob.socket.recovered, false);
    await say(1);
    await bob.hearsAbout(topic, 16);
    assert.equal(bob.of(CHAT).length, before + 11, 'nothing came twice, nothing of old came again');
  });

  test('the others see who is typing, until it ends by itself', async () => {
    const topic = freshTopic();
    const [ann, ...others] = await chats(place, ['Ann', 'Bob', 'Cyd', 'Dan', 'Eve']);
    // Of whatever shape it is: it names somebody, or it is the end of it.
    const news = (one) => one.heard.filter(({ event }) => /typing/i.test(event));
    const showsAnn = ({ event, args }) => {
      const text = JSON.stringify(args);
      return text.includes('Ann') && !text.includes('false') && !/stop|end/i.test(event);
    };
    const startedAt = Date.now();
    ann.emit('typing');
    await each(others, (one) => eventually('it sees who is typing', () => news(one).some(showsAnn)));
    await each(others, async (one) => {
      await eventually('it sees the end of it', () => !showsAnn(news(one).at(-1)), 20_000);
      assert.ok(news(one).at(-1).at - startedAt >= 500, 'it lasts long enough to be seen');
    });
    assert.ok(!news(ann).some(showsAnn), 'who is typing knows it');

    // It is nothing to be remembered.
    const [late] = await chats(place, ['Flo']);
    ann.say(`${topic} 0`);
    await late.hearsAbout(topic, 1);
    assert.ok(!news(late).some(showsAnn));
    for (const one of [ann, ...others]) one.wasNeverRefused();
  });
});

// The log has little of what was said; the rest is in the database. Whoever reads there waits for as long as a busy machine takes.
const SEAM = {
  GATEWAY_ARCHIVE__ROOMS: 'chat',
  GATEWAY_ARCHIVE__PATIENCE: '20s',
  GATEWAY_LOG__ROOM_EVENTS: '20',
  GATEWAY_LIMITS__EVENTS_PER_SECOND: '0',
};

whereItIsKept('persistent-chat', SEAM, (place) => {
  const authors = ['Ann', 'Bob', 'Cyd', 'Dan'];
  const all = (chat) => chat.of(CHAT).map((args) => declared(args, 3));
  let said;

  /** All of them have heard just this. */
  const haveHeard = (people, expected) =>
    each(people, async (one) => {
      await eventually(`${one.name} hears ${expected.length}`, () => all(one).length >= expected.length);
      assert.deepEqual(all(one), expected, one.name);
    });

  test('who comes for the first time is told everything that was ever said, and then what is new', async () => {
    const people = await chats(place, authors);
    // What databases have opinions of.
    for (const text of ['\u0000', 'half \ud83d', '😀'.repeat(15_000), '$where', 'a.b', "'; DROP TABLE gateway_archive; --"]) {
      people[0].say(text);
    }
    await converse(place, people, freshTopic(), 250);
    said = all(people[0]);
    assert.equal(said.length, 256);
    await haveHeard(people, said);
    const late = await chats(place, ['Eve', 'Flo', 'Gil', 'Hal']);
    await haveHeard(late, said);
    assertIncreasing(said.map(([, offset]) => offset), 'everybody');
    late[0].say('and new');
    await eventually('it is heard', () => all(people[0]).length > said.length);
    said = all(people[0]);
    await haveHeard([...people, ...late], said);
    for (const one of [...people, ...late]) one.wasNeverRefused();
    assert.ok((await inAll(place, 'gateway_archive_reads_total', { result: 'whole' })) > 0, 'the log had all of it');
  });

  test('who has read up to an offset is told what came after it, wherever that is', async () => {
    // Of long ago, of where the log begins (Redis keeps more than it has to), and of what the log has.
    const places = numbers(said.length).filter((turn) => turn % 10 === 0 || turn > said.length - 25);
    await each(places, async (turn) => {
      const chat = new Chat('Bob', urlOf(place, turn), { serverOffset: said[turn][1] });
      await chat.connect();
      await haveHeard([chat], said.slice(turn + 1));
    });
  });

  test('what is said while somebody reads comes after it, once', async () => {
    const [ann] = await chats(place, ['Ann'], () => ({ serverOffset: said.at(-1)[1] }));
    const topic = freshTopic();
    const [late] = await Promise.all([chats(place, ['Eve', 'Flo', 'Gil', 'Hal']), converse(place, [ann], topic, 60)]);
    said = [...said, ...all(ann)];
    assert.equal(all(ann).length, 60);
    await haveHeard(late, said);
  });

  test('who was away for long, and nodes that died, change nothing of that', async () => {
    const [ann, bob] = await chats(place, ['Ann', 'Bob'], () => ({ serverOffset: said.at(-1)[1] }));
    bob.socket.disconnect();
    await converse(place, [ann], freshTopic(), 60);
    said = [...said, ...all(ann)];
    await bob.connect();
    await haveHeard([bob], all(ann));
    const nothingIsMissing = async () => {
      assert.equal(await inAll(place, 'gateway_archive_reads_total', { result: 'incomplete' }), 0);
      assert.equal(await inAll(place, 'gateway_archive_gaps_total'), 0);
    };
    await nothingIsMissing();
    closeClients();
    await restartNodes(place);
    await haveHeard(await chats(place, ['Eve', 'Flo', 'Gil', 'Hal']), said);
    await nothingIsMissing();
  });
});
