// Front ends of the dialects as their authors wrote them, in browsers, against nothing but a profile: on one node and on three.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { newDatabase, Postgres, stopDatabases } from '../clients/databases.mjs';
import { everywhere, inAll } from '../clients/dialects.mjs';
import { eventually, mintToken, request } from '../clients/harness.mjs';
import { Mailpit } from '../clients/mailpit.mjs';
import { Site } from './front_ends.mjs';
import { closeBrowser, People } from './people.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';
const ADMIN = 'a token for the tests only, long enough to be one';
/** What a team sets beside the profile: where its pages are. */
const ORIGINS = { GATEWAY_SOCKET__ORIGINS: 'http://localhost:*' };

const mailpit = await Mailpit.start();
const database = await newDatabase(Postgres, 'notifications');
after(() => Promise.all([closeBrowser(), mailpit.stop(), stopDatabases()]));

/** Defines tests for a dialect's front end. Nothing that a page sends is refused, unless the test is about that. */
function inBrowsers(dialect, settings, define) {
  everywhere(dialect, { ...ORIGINS, ...settings }, (place) => {
    const people = new People();
    // A name that somebody has is refused; the lobby has its words for it.
    const refusals = async () => {
      const [all, taken] = await Promise.all([{}, { code: 'taken' }].map((labels) => inAll(place, 'gateway_refusals_total', labels)));
      return all - taken;
    };
    before(async () => {
      place.site = await Site.start(dialect, place.cluster.url);
    });
    after(() => place.site?.stop());
    beforeEach(async () => {
      place.refusals = await refusals();
    });
    afterEach(async () => {
      await people.allLeave();
      assert.equal(await refusals(), place.refusals, 'something was refused');
    });
    place.visit = (name, { url = place.site.url, ...options } = {}) => people.visit(url, name, options);
    place.leaves = (person) => people.leave(person);
    /** A refusal that the test is about. */
    place.isRefused = async () => {
      const before = place.refusals;
      await eventually('it is refused', async () => (place.refusals = await refusals()) > before);
    };
    /** Those that are there, on as many nodes as there are. */
    place.isSpread = async (visitors) => {
      for (const { websockets, name } of visitors) await eventually(`${name} has a websocket`, () => websockets.length > 0);
      let counts;
      // A connection counts with its first session, which may be made after its websocket.
      await eventually('the nodes have those that are there', async () => {
        counts = await Promise.all(place.cluster.nodes.map((node) => place.cluster.metric(node, 'gateway_connections')));
        assert.equal(counts.reduce((sum, count) => sum + count, 0), visitors.length);
        return true;
      });
      const used = counts.filter((count) => count > 0).length;
      assert.ok(used >= Math.min(2, counts.length), `all of them are on one node: ${counts}`);
    };
    define(place);
  });
}

const mail = {
  GATEWAY_MAIL__HOST: '127.0.0.1',
  GATEWAY_MAIL__PORT: `${mailpit.smtpPort}`,
  GATEWAY_MAIL__TLS: 'none',
  GATEWAY_MAIL__FROM: 'chat@example.test',
};
let addresses = 0;
const freshAddress = () => `user${++addresses}@example.test`;
const lettersTo = (address) =>
  eventually(`a mail to ${address} arrives`, async () => {
    const letters = await mailpit.of(address);
    return letters.length > 0 && letters;
  });

function roomAlerts(place) {
  const join = async (Name, Room, options) => {
    const person = await place.visit(Name, options);
    person.address = freshAddress();
    await person.fills({ Name, 'E-mail': person.address, Room });
    await person.clicks('Join a room');
    await person.page.getByRole('heading', { name: `Room ${Room}` }).waitFor();
    return person;
  };
  const say = (person, text) => person.says('Message', text);

  test('who is in a room sees who joins it and what the others say', async () => {
    const [ann, cyd] = await Promise.all([join('Ann', 'tea'), join('Cyd', 'coffee')]);
    const bob = await join('Bob', 'tea');
    await ann.sees('Alerts', 'Bob joined tea');
    await place.isSpread([ann, bob, cyd]);
    await say(bob, 'hello 🌍');
    await ann.sees('Messages', 'Bob: hello 🌍');
    await say(ann, 'hi <b>Bob</b>');
    for (const one of [ann, bob]) await one.sees('Messages', 'Bob: hello 🌍', 'Ann: hi <b>Bob</b>');
    const dan = await join('Dan', 'coffee');
    await cyd.sees('Alerts', 'Dan joined coffee');
    await cyd.sees('Messages');
    for (const one of [bob, dan]) await one.sees('Alerts');
  });

  test('who leaves its tab hidden for five minutes gets a mail, and is still in its room', async () => {
    const ann = await join('Ann', 'cake');
    const bob = await join('Bob', 'cake', { prepare: (page) => page.clock.install() });
    await ann.sees('Alerts', 'Bob joined cake');
    const turns = async (state) =>
      bob.page.evaluate((state) => {
        Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, state);
    await turns('hidden');
    // As a computer that sleeps: its connection is over when it wakes.
    await bob.page.clock.fastForward('05:01');
    const [letter] = await lettersTo(bob.address);
    assert.match(letter.Text, /Hi Bob you have an active chat at room cake login to continue chatting/);
    await turns('visible');
    await say(ann, 'there you are');
    await bob.sees('Messages', 'Ann: there you are');
    assert.equal((await mailpit.of(ann.address)).length, 0);
    assert.equal((await mailpit.of(bob.address)).length, 1);
  });
}

function broadcast(place) {
  const say = (person, text) => person.says('Message', text);

  test('the page has its client from the gateway, and everybody sees everything', async () => {
    const scripts = [];
    const prepare = (page) => page.on('response', (response) => scripts.push([response.url(), response.status()]));
    const people = await Promise.all([place.visit('Ann', { prepare }), place.visit('Bob'), place.visit('Cyd')]);
    assert.ok(scripts.some(([url, status]) => url === `${place.site.url}/socket.io/socket.io.js` && status === 200), `${scripts}`);
    await place.isSpread(people);
    const said = ['hello', 'ein Gruß 🌍', '12345', '<i>tags</i>', 'the end'];
    for (const [turn, text] of said.entries()) {
      await say(people[turn % people.length], text);
      await people.at(-1).sees('#messages li', ...said.slice(0, turn + 1));
    }
    for (const one of people) await one.sees('#messages li', ...said);
    await people[0].page.reload();
    await people[0].sees('#messages li');
    await eventually('it is connected again', () => people[0].page.evaluate('socket.connected'));
    await say(people[0], 'back again');
    for (const one of people.slice(1)) await one.sees('#messages li', ...said, 'back again');
    await people[0].sees('#messages li', 'back again');
  });
}

function lobby(place) {
  const counted = (count) => `${count} clients connected!`;
  const claims = async (person, name) => {
    await person.fills({ 'Enter your name!': name });
    await person.clicks('Let me chat!');
  };
  const isIn = (person) => person.page.locator('#messages').waitFor({ state: 'attached', timeout: 1000 }).then(() => true, () => false);

  test('who comes is welcomed, counted, put into a small room, and has a name of its own', async () => {
    const began = Date.now();
    const ann = await place.visit('Ann');
    await ann.sees('#count', counted(1));
    await ann.sees('#welcomes li', 'Hey, welcome!');
    const bob = await place.visit('Bob');
    await bob.sees('#count', counted(2));
    const cyd = await place.visit('Cyd');
    await ann.sees('#welcomes li', 'Hey, welcome!', counted(2), counted(3));
    await cyd.sees('#welcomes li', 'Hey, welcome!');
    for (const one of [ann, bob, cyd]) await one.sees('#count', counted(3));
    for (const [one, room] of [[ann, 1], [bob, 1], [cyd, 2]]) await one.sees('#room', `You are in room no. ${room}`);
    const hello = 'Hello everyone!';
    await ann.sees('#namespace li', hello, hello, hello);
    await cyd.sees('#namespace li', hello);
    await place.isSpread([ann, bob, cyd]);

    const later = ['Sent a message 4seconds after connection!', 'A custom event named testerEvent!'];
    await ann.sees('#later li', ...later);
    assert.ok(Date.now() - began >= 4000, 'not before its time');
    for (const one of [bob, cyd]) await one.sees('#later li', ...later);
    await eventually('a node has logged what the pages told it', async () => {
      const logs = await Promise.all(place.cluster.nodes.map(({ log }) => readFile(log, 'utf8')));
      return logs.join().split('Sent an event from the client!').length > 3;
    });

    await claims(ann, 'Zoë 🌍');
    assert.ok(await isIn(ann));
    await claims(bob, 'Zoë 🌍');
    await bob.sees('#error-container', 'Zoë 🌍 username is taken! Try some other username.');
    await claims(bob, 'Bob');
    assert.ok(await isIn(bob));
    await bob.fills({ Message: 'hello' });
    await bob.clicks('Send');
    await ann.fills({ Message: 'hi' });
    await ann.sees('#messages li', 'Bob: hello');
    await ann.clicks('Send');
    for (const one of [ann, bob]) await one.sees('#messages li', 'Bob: hello', 'Zoë 🌍: hi');

    await place.leaves(ann);
    for (const one of [bob, cyd]) await one.sees('#count', counted(2));
    await eventually('the name is free again', async () => {
      await claims(cyd, 'Zoë 🌍');
      return isIn(cyd);
    });
    const dan = await place.visit('Dan');
    await dan.sees('#room', 'You are in room no. 1');
  });
}

const logIn = async (person, User, Token) => {
  await person.fills({ User, Token });
  await person.clicks('Log in');
  return person;
};
const isLoggedIn = async (person) => {
  await person.page.getByRole('heading', { name: 'Notifications' }).waitFor();
  return person;
};
const tells = async (person, how, Receiver, Notification) => {
  await person.fills({ Receiver, Notification });
  await person.clicks(how);
  // The page empties it when it is done.
  await eventually('it is sent', async () => (await person.page.getByPlaceholder('Notification').inputValue()) === '');
};
const unread = (text) => `${text} Mark as read`;
let users = 0;
/** What others were told is in the database of all. */
const freshUser = (name) => `${name}${++users}`;

function notifier(place) {
  const comes = async (user) => isLoggedIn(await logIn(await place.visit(user), user, await mintToken(SECRET, '--user', user)));

  test('who has no token, or a bad one, is told so', async () => {
    const eve = await place.visit('eve');
    for (const [token, expected] of [['', 'Authentication error'], ['let me in', 'Invalid token']]) {
      await logIn(eve, 'eve', token);
      await eventually('it is told', async () => (await eve.page.getByRole('alert').textContent()) === expected);
      await eve.clicks('Log out');
    }
    // The client ends the connection while it asks for more: which of the two comes first is nobody's to say.
    for (const complaint of eve.excuse()) assert.match(complaint, /\b400\b|closed before the connection is established/);
    await place.isRefused();
  });

  test('rooms, what is said to all, and the feed', async () => {
    const [ann, bob, cyd] = await Promise.all(['ann', 'bob', 'cyd'].map(comes));
    await place.isSpread([ann, bob, cyd]);
    for (const [one, Room] of [[ann, 'tea'], [cyd, 'coffee'], [bob, 'tea']]) {
      await one.fills({ Room });
      await one.clicks('Join');
      if (one === bob) continue;
      // Nobody but the node knows that it is in; what all hear comes after it.
      await one.fills({ Message: Room });
      await one.clicks('Say in the room');
      await one.sees('Chat', `${one.name}: ${Room}`);
    }
    await ann.sees('Chat', 'ann: tea', 'User joined room: tea');
    await bob.fills({ Message: 'hello' });
    await bob.clicks('Say in the room');
    await bob.sees('Chat', 'bob: hello');
    await cyd.fills({ Message: 'good evening' });
    await cyd.clicks('Say to all');
    await ann.sees('Chat', 'ann: tea', 'User joined room: tea', 'bob: hello', 'to all: good evening');
    await bob.sees('Chat', 'bob: hello', 'to all: good evening');
    await cyd.sees('Chat', 'cyd: coffee', 'to all: good evening');
    await ann.fills({ Message: 'for the feed' });
    await ann.clicks('Post');
    for (const one of [ann, bob, cyd]) await one.sees('Feed', 'for the feed');
    const address = freshAddress();
    await bob.fills({ 'E-mail': address, Subject: 'A party' });
    await bob.clicks('Send e-mail');
    await bob.sees('[role=status]', 'Email task added to queue');
    assert.equal((await lettersTo(address))[0].Subject, 'A party');
  });

  test('notifications reach all devices of one user, wait for who is not there, and are read everywhere', async () => {
    const [name, absent] = [freshUser('bob'), freshUser('dan')];
    const [ann, phone, laptop] = await Promise.all([freshUser('ann'), name, name].map(comes));
    await tells(ann, 'Tell', name, 'dinner?');
    for (const one of [phone, laptop]) await one.sees('Notifications', unread('dinner?'));
    await tells(ann, 'Tell over HTTP', name, 'or lunch?');
    for (const one of [phone, laptop]) {
      await one.sees('Notifications', unread('or lunch?'), unread('dinner?'));
      await one.sees('Toasts', 'dinner?', 'or lunch?');
    }
    await tells(ann, 'Tell all', '', 'to everybody');
    for (const one of [phone, laptop]) await one.sees('Toasts', 'dinner?', 'or lunch?', 'to everybody');
    await ann.sees('Toasts', 'to everybody');
    await ann.sees('Notifications');
    await phone.page.getByRole('listitem').filter({ hasText: 'dinner?' }).getByRole('button').click();
    await phone.sees('Notifications', unread('or lunch?'), 'dinner? read');
    await laptop.page.reload();
    await laptop.sees('Notifications', unread('or lunch?'), 'dinner? read');
    await tells(ann, 'Tell', absent, 'while you were out');
    await tells(phone, 'Tell over HTTP', absent, 'call me');
    const dan = await comes(absent);
    await dan.sees('Notifications', unread('call me'), unread('while you were out'));
    await dan.sees('Toasts');
  });
}

function notifierWithoutTokens(place) {
  test('who says to be somebody is told what that one is told', async () => {
    const name = freshUser('bob');
    const comes = async (user) => isLoggedIn(await logIn(await place.visit(user), user, ''));
    const [ann, bob] = await Promise.all([freshUser('ann'), name].map(comes));
    await tells(ann, 'Tell', name, 'dinner?');
    await bob.sees('Notifications', unread('dinner?'));
    await tells(ann, 'Tell over HTTP', name, 'or lunch?');
    await bob.sees('Notifications', unread('or lunch?'), unread('dinner?'));
    await bob.sees('Toasts', 'dinner?', 'or lunch?');
    await bob.clicks('Mark as read');
    await bob.sees('Notifications', 'or lunch? read', unread('dinner?'));
    await ann.sees('Toasts');
  });
}

function persistentChat(place) {
  const enters = async (name) => {
    const token = await mintToken(SECRET, '--user', name);
    const prepare = (page) => page.addInitScript((token) => localStorage.setItem('token', token), token);
    const person = await place.visit(name, { prepare });
    await person.fills({ 'Your name': name });
    await person.clicks('Enter');
    await person.sees('[role=status]', 'connected');
    return person;
  };
  const said = [];
  const say = async (person, text) => {
    await person.says('Message', text);
    said.push(`${person.name}: ${text}`);
    await person.sees('Messages', ...said);
  };
  const isAway = async (person, meanwhile) => {
    await person.context.setOffline(true);
    await person.sees('[role=status]', 'disconnected');
    await meanwhile();
    await person.context.setOffline(false);
  };

  test('history, catching up, coming back, and who is typing', async () => {
    const ann = await enters('Ann');
    await say(ann, 'hello');
    await say(ann, 'is anybody there?');
    const bob = await enters('Bob');
    await bob.sees('Messages', ...said);
    await place.isSpread([ann, bob]);

    await bob.page.getByPlaceholder('Message').pressSequentially('yes');
    await ann.sees('#typing', 'Bob is typing…');
    await bob.sees('#typing', '');
    await ann.sees('#typing', '');
    await bob.clicks('Send');
    said.push('Bob: yes');
    for (const one of [ann, bob]) await one.sees('Messages', ...said);

    await isAway(bob, () => say(ann, 'you are away'));
    await bob.sees('[role=status]', 'recovered');
    await bob.sees('Messages', ...said);
    await isAway(bob, async () => {
      await say(ann, 'for so long');
      // An operator ends what he had: he comes back as somebody new, and knows how far he has read.
      const headers = { authorization: `Bearer ${ADMIN}` };
      const ended = await request(`${place.cluster.nodes[0].admin}/users/Bob/sockets`, { method: 'DELETE', headers });
      assert.equal(ended.status, 204);
      await say(ann, 'that you are forgotten');
    });
    await bob.sees('[role=status]', 'connected');
    await say(ann, 'welcome back');
    await bob.sees('Messages', ...said);
    // What a browser says of a network that is away.
    for (const complaint of bob.excuse()) assert.match(complaint, /ERR_INTERNET_DISCONNECTED/);

    const cyd = await enters('Cyd');
    await cyd.sees('Messages', ...said);
  });

  test('a page of an origin that is not listed stays out, and one that is does not', async () => {
    const eve = await place.visit('Eve', { url: place.site.otherUrl });
    await eve.fills({ 'Your name': 'Eve' });
    await eve.clicks('Enter');
    await eventually('the browser says so', () => eve.complaints.some((complaint) => complaint.includes('blocked by CORS policy')));
    await eve.sees('[role=status]', 'signed out');
    await eve.sees('Messages');
    eve.excuse();
    await place.leaves(eve);
    await place.isRefused();
  });
}

// They wait for clocks more than for processors.
describe('front ends', { concurrency: 2 }, () => {
  inBrowsers('room-alerts', mail, roomAlerts);
  inBrowsers('broadcast', {}, broadcast);
  inBrowsers('lobby', {}, lobby);
  inBrowsers('notifier', { GATEWAY_AUTH__SECRET: SECRET, ...database, ...mail }, notifier);
  inBrowsers('notifier', database, notifierWithoutTokens);
  inBrowsers('persistent-chat', { GATEWAY_AUTH__SECRET: SECRET, GATEWAY_ADMIN__TOKEN: ADMIN }, persistentChat);
});
