// Two people, a page each, and one node with the gateway's own defaults.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';

import { ask, connect, ok } from '../clients/clients.mjs';
import { eventually, startNode } from '../clients/harness.mjs';
import { assertWhole, comeIn, isConnected, link, readAll, reads, say, shown, writeTo } from './app.mjs';
import { Browser, picture, sees } from './browser.mjs';

let node;
let browser;
let turn = 0;
/** A room that no other test is in. */
let room;
before(async () => {
  [node, browser] = await Promise.all([startNode(), Browser.start()]);
});
afterEach(() => browser.closeDevices());
after(async () => {
  await browser?.stop();
  await node?.stop();
});

/** So many people in a room of their own. */
async function people(...names) {
  room = `room ${++turn}`;
  const come = async (name) => comeIn(await browser.device(), link(node.url, room), `${name} ${turn}`);
  return Promise.all(names.map(come));
}

/** A PNG of pixels by chance: it does not get small by compressing, and has to be made smaller. */
function noise(width, height) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const ends = [Buffer.alloc(4), Buffer.alloc(4)];
    ends[0].writeUInt32BE(data.length);
    ends[1].writeUInt32BE(crc32(body));
    return Buffer.concat([ends[0], body, ends[1]]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 0], 8);
  // Each line begins with how it is filtered: not at all.
  const lines = Array.from({ length: height }, () => Buffer.concat([Buffer.alloc(1), randomBytes(width)]));
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.concat(lines))), chunk('IEND', Buffer.alloc(0))]);
}

const numbers = (count, what) => Array.from({ length: count }, (_, index) => `${what} ${index + 1}`);

test('two people talk, see each other and who types, and each other\'s scripts', { timeout: 60_000 }, async () => {
  const [ann, bob] = await people('ann', 'bob');
  await sees(ann, 'aside', /2 here[^]*bob 1/);
  await bob.getByPlaceholder('Say something').pressSequentially('shal');
  await sees(ann, '.typing', /^bob 1 is typing$/);
  await say(bob, 'שלום');
  await say(bob, '<b>not bold</b>');
  await reads(ann, '<b>not bold</b>');
  assert.deepEqual(await shown(ann), ['שלום', '<b>not bold</b>']);
  await sees(ann, '.typing', /^$/);
  const direction = await ann.locator('.message .text').first().evaluate((element) => getComputedStyle(element).direction);
  assert.equal(direction, 'rtl');
  await bob.goto('about:blank');
  // A page that is gone is so after presence.linger, and the others ask every ten seconds.
  await sees(ann, 'aside', /1 here/, 30_000);
});

test('a name that somebody has nobody else can have, and free again it can', { timeout: 60_000 }, async () => {
  const [ann] = await people('ann');
  const page = await (await browser.device()).open(link(node.url, room));
  const come = async () => {
    await page.getByLabel('Your name').fill(`Ann ${turn}`);
    await page.getByRole('button', { name: 'Come in', exact: true }).click();
  };
  await come();
  await sees(page, '[role=alert]', /Somebody else has this name/);
  await ann.close();
  await eventually('the name is free', async () => {
    await come();
    await page.locator('.composer').waitFor({ timeout: 1_000 });
    return true;
  });
});

test('what is unread in other rooms is counted, until somebody looks', { timeout: 60_000 }, async () => {
  const [ann, bob] = await people('ann', 'bob');
  await ann.getByLabel('Join a room').fill('elsewhere');
  await ann.keyboard.press('Enter');
  await sees(ann, 'h1', /elsewhere/);
  for (const text of numbers(3, 'word')) await say(bob, text);
  await sees(ann, '.talks li:first-child', /3\s*unread/);
  await eventually('the title counts', async () => (await ann.title()).startsWith('(3) '));
  await ann.locator('.talks a').first().click();
  await reads(ann, 'word 3');
  await eventually('nothing is unread', async () => !(await ann.title()).startsWith('('));
});

test('a private message reaches one person, and the bell; who reads it there has read it', { timeout: 60_000 }, async () => {
  const [ann, bob, eve] = await people('ann', 'bob', 'eve');
  await writeTo(bob, `ann ${turn}`);
  await say(bob, 'between us');
  await reads(bob, 'between us');
  await sees(ann, '.talks:last-of-type', /bob[^]*1/);
  await sees(ann, '.bell', /1/);
  await ann.getByRole('button', { name: 'Notifications, 1 unread' }).click();
  await sees(ann, 'dialog[open]', /bob \d+: between us/);
  await ann.getByRole('link', { name: 'Answer' }).click();
  await reads(ann, 'between us');
  await eventually('it is read', () => ann.getByRole('button', { name: 'Notifications, 0 unread' }).count());
  await say(ann, 'so it is');
  await reads(bob, 'so it is');
  assert.equal(await eve.getByRole('button', { name: 'Notifications, 0 unread' }).count(), 1);
  assert.deepEqual(await shown(eve), []);
});

test('a link is followed, whatever happens before the page is told of it', { timeout: 60_000 }, async () => {
  const [ann, bob] = await people('ann', 'bob');
  const name = `Write to ann ${turn} privately`;
  // The address changes at once, and the page is told by an event: here of something else first.
  await bob.getByRole('link', { name }).evaluate((element) => {
    element.click();
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await sees(bob, 'h1', /ann/);
  await ann.evaluate(() => (location.hash = '#/nowhere'));
  await eventually('an address that means nothing is put right', () => ann.evaluate(() => location.hash.startsWith('#/room/')));
});

test('an image goes as bytes and is seen by the others, in its size', { timeout: 60_000 }, async () => {
  const [ann, bob] = await people('ann', 'bob');
  await ann.getByLabel('Image', { exact: true }).setInputFiles({ name: 'noise.png', mimeType: 'image/png', buffer: noise(1200, 900) });
  const picture = bob.locator('.message img');
  const size = await eventually('it is drawn', () => picture.evaluate(({ naturalWidth, width, height }) => naturalWidth && [width, height]));
  assert.deepEqual(size, [320, 240]);
  await ann.getByLabel('Image', { exact: true }).setInputFiles({ name: 'no.png', mimeType: 'image/png', buffer: Buffer.from('no') });
  await sees(ann, '.composer [role=alert]', /no image/);
});

test('a reload goes on with the session, and shows what was said before and meanwhile', { timeout: 60_000 }, async () => {
  const [ann, bob] = await people('ann', 'bob');
  await say(ann, 'before');
  await reads(bob, 'before');
  await ann.goto('about:blank');
  for (const text of numbers(3, 'meanwhile')) await say(bob, text);
  await reads(bob, 'meanwhile 3');
  await ann.goBack();
  await sees(ann, '.connection', /Recovered: 3 messages came/);
  await reads(ann, 'meanwhile 3');
  assert.deepEqual(await shown(ann), ['before', ...numbers(3, 'meanwhile')]);
  await say(ann, 'after');
  await reads(bob, 'after');
});

test('offline and back: the page says so, and nothing is missing', { timeout: 60_000 }, async () => {
  const [ann, bob] = await people('ann', 'bob');
  await say(ann, 'before');
  await reads(bob, 'before');
  await ann.context().setOffline(true);
  await sees(ann, '.connection', /Away/);
  await say(ann, 'said offline');
  for (const text of numbers(12, 'meanwhile')) await say(bob, text);
  await reads(bob, 'meanwhile 12');
  await ann.context().setOffline(false);
  await sees(ann, '.connection', /Recovered: 12 messages came after you were gone/);
  await reads(bob, 'said offline');
  const all = ['before', ...numbers(12, 'meanwhile'), 'said offline'];
  assertWhole(await readAll(ann), all);
  assertWhole(await readAll(bob), all);
});

test('the switches cut a connection, and have others speak meanwhile', { timeout: 60_000 }, async () => {
  const [ann] = await people('ann');
  await ann.getByRole('button', { name: 'Cut my connection' }).click();
  await sees(ann, '.connection', /You cut the connection[^]*Trying again in/);
  await ann.getByRole('button', { name: 'Try now' }).click();
  await sees(ann, '.connection', /nothing was said while you were gone/);
  await ann.getByRole('button', { name: 'Cut and publish meanwhile' }).click();
  await sees(ann, '.connection', /Recovered: 12 messages came/);
  await reads(ann, '12 of 12, said while you were away');
  await picture(ann, 'recovered-desk-light');
});

test('history loads upward and stays where it is read', { timeout: 60_000 }, async () => {
  const [ann] = await people('ann');
  await sees(ann, '.messages', /Nothing was said here yet/);
  const texts = numbers(130, 'number');
  const speaker = await connect(node.url, { transports: ['websocket'] });
  await ok(speaker, 'join', { room });
  for (const data of texts) await eventually('it is kept', async () => (await ask(speaker, 'publish', { room, data })).ok);
  await reads(ann, 'number 130');
  const bob = await comeIn(await browser.device(), link(node.url, room), `late ${turn}`);
  await reads(bob, 'number 130');
  const list = bob.locator('.messages');
  await eventually('it is at the beginning', async () => {
    await list.evaluate((element) => (element.scrollTop = 0));
    return (await shown(bob)).includes('number 1');
  });
  assert.deepEqual((await readAll(bob)).filter((text) => texts.includes(text)), texts);
});

test('with the keyboard alone somebody comes in, talks, goes elsewhere and comes back', { timeout: 60_000 }, async () => {
  const page = await (await browser.device()).open(link(node.url, `room ${++turn}`));
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.labels?.[0]?.innerText ?? document.activeElement.innerText);
  /** Presses Tab until something has the focus. */
  const tabTo = async (name, key = 'Tab') => {
    for (let presses = 0; presses < 40; presses++) {
      await page.keyboard.press(key);
      if (name.test(await focused())) return;
    }
    assert.fail(`${name} is not reached by ${key}`);
  };
  await tabTo(/^Your name$/);
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.type(`keys ${turn}`);
  await page.keyboard.press('Enter');
  await isConnected(page);
  await tabTo(/^Message to/);
  await page.keyboard.type('typed');
  await page.keyboard.press('Enter');
  await reads(page, 'typed');
  await tabTo(/^Notifications/, 'Shift+Tab');
  await page.keyboard.press('Enter');
  await sees(page, 'dialog[open]', /Notifications/);
  await page.keyboard.press('Escape');
  assert.match(await focused(), /^Notifications/, 'the focus is given back');
  await tabTo(/^Join a room$/);
  await page.keyboard.type('elsewhere');
  await page.keyboard.press('Enter');
  await sees(page, 'h1', /elsewhere/);
});
