// What every page of the app is held to: weight, speed, accessibility, and that nothing jumps. PICTURES=folder keeps pictures.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { connect, ok } from '../clients/clients.mjs';
import { eventually, startNode } from '../clients/harness.mjs';
import { comeIn, link, reads, say, writeTo } from './app.mjs';
import { assertAccessible, best, Browser, DESK, firstLoad, PHONE, picture, sees } from './browser.mjs';

// A name that was held is not free at once.
const LOOKS = [['light', ['Ann', 'Bob', 'Eve', 'Dan']], ['dark', ['Zoë', 'Ian', 'Mia', 'رامي']]].flatMap(([colorScheme, [one, two, three, four]]) => [
  { name: `phone-${colorScheme}`, names: [one, two], options: { viewport: PHONE, hasTouch: true, isMobile: true, colorScheme } },
  { name: `desk-${colorScheme}`, names: [three, four], options: { viewport: DESK, colorScheme } },
]);

let node;
let browser;
before(async () => {
  const noLimit = { GATEWAY_LIMITS__EVENTS_PER_SECOND: '0', GATEWAY_LIMITS__BYTES_PER_SECOND: '0', GATEWAY_LOG__ROOM_EVENTS: '20000' };
  [node, browser] = await Promise.all([startNode(noLimit), Browser.start()]);
});
afterEach(() => browser.closeDevices());
after(async () => {
  await browser?.stop();
  await node?.stop();
});

test('the first load is small, and the page is there at once', { timeout: 60_000 }, async () => {
  const device = await browser.device();
  const page = await device.open('about:blank');
  const bytes = await firstLoad(page, () => page.goto(node.url, { waitUntil: 'networkidle' }));
  assert.ok(bytes > 50_000 && bytes <= 200 * 1024, `${bytes} bytes`);
  const painted = await best(async () => {
    await page.reload({ waitUntil: 'networkidle' });
    return page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime);
  }, (milliseconds) => milliseconds <= 1_000);
  assert.ok(painted <= 1_000, `painted after ${painted} ms`);
});

for (const { name, names, options } of LOOKS) {
  test(`nobody is kept out, and nothing sticks out: ${name}`, { timeout: 90_000 }, async () => {
    const device = await browser.device(options);
    const room = `Tea, ${name.replace('-', ' and ')}`;
    const entry = await device.open(node.url);
    await assertAccessible(entry, 'entry');
    await picture(entry, `entry-${name}`);
    await entry.close();
    const [ann, bob] = [await comeIn(device, link(node.url, room), names[0]), await comeIn(await browser.device(), link(node.url, room), names[1])];
    for (const text of ['Is there any tea left?', 'One pot. It has been standing for a while, so it is strong, and somebody has to wash the cups first.']) await say(ann, text);
    for (const text of ['שלום, אני בדרך', 'https://example.org/a-very-long-address-without-any-place-to-break-it-as-they-often-are/and-it-goes-on', 'I bring cake']) await say(bob, text);
    await reads(ann, 'I bring cake');
    await fits(ann, name);
    await assertAccessible(ann, 'room');
    await picture(ann, `room-${name}`);
    if (options.isMobile) {
      await ann.getByRole('button', { name: 'Rooms' }).click();
      await sees(ann, 'dialog[open]', /Try what happens/);
      await assertAccessible(ann, 'rooms');
      await picture(ann, `rooms-${name}`);
      await ann.keyboard.press('Escape');
    }
    await talkPrivately(ann, bob, names[0]);
    await ann.getByRole('button', { name: /^Notifications/ }).click();
    await sees(ann, 'dialog[open]', /strong enough/);
    await assertAccessible(ann, 'notifications');
    await picture(ann, `notifications-${name}`);
    await ann.keyboard.press('Escape');
    const top = () => ann.locator('.messages').evaluate((element) => element.getBoundingClientRect().top);
    const before = await top();
    await ann.context().setOffline(true);
    await sees(ann, '.connection', /Away/);
    assert.equal(await top(), before, 'what is below the words moves');
    await fits(ann, name);
    await assertAccessible(ann, 'away');
    await picture(ann, `away-${name}`);
    // The same in a document that is read from right to left.
    await ann.evaluate(() => (document.documentElement.dir = 'rtl'));
    await fits(ann, `${name}, right to left`);
    await picture(ann, `rtl-${name}`);
  });
}

/** Nothing is wider than the screen. */
async function fits(page, what) {
  const { scrolled, width } = await page.evaluate(() => ({ scrolled: document.documentElement.scrollWidth, width: innerWidth }));
  assert.ok(scrolled <= width, `${what}: ${scrolled} of ${width} px`);
}

async function talkPrivately(ann, bob, name) {
  await writeTo(bob, name);
  await say(bob, 'Is it strong enough?');
  await reads(bob, 'Is it strong enough?', 30_000);
  const bell = ann.getByRole('button', { name: /^Notifications/ });
  await eventually('the bell rings', async () => {
    assert.equal(await bell.getAttribute('aria-label'), 'Notifications, 1 unread');
    return true;
  }, 30_000);
}

test('10,000 messages are scrolled smoothly, and nothing jumps while they come', { timeout: 120_000 }, async () => {
  const device = await browser.device();
  const ann = await comeIn(device, link(node.url, 'many'), 'reader');
  const newest = ann.locator('.messages').getByText('message 10000', { exact: false });
  await ann.evaluate(() => {
    globalThis.shifted = 0;
    new PerformanceObserver((list) => {
      for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) globalThis.shifted += value;
    }).observe({ type: 'layout-shift' });
  });
  const socket = await connect(node.url, { transports: ['websocket'] });
  await ok(socket, 'join', { room: 'many' });
  for (let hundred = 0; hundred < 100; hundred++) {
    const text = (number) => `message ${number} ${'and some more words '.repeat(number % 7)}`.trim();
    const numbers = Array.from({ length: 100 }, (_, index) => hundred * 100 + index + 1);
    await Promise.all(numbers.map((number) => ok(socket, 'publish', { room: 'many', data: text(number) })));
  }
  await eventually('the newest is in sight', () => newest.count(), 60_000);
  socket.disconnect();
  assert.ok((await ann.evaluate(() => globalThis.shifted)) < 0.05, 'it jumps');
  const drawn = await ann.locator('.message').count();
  assert.ok(drawn < 150, `${drawn} messages are drawn`);

  const scroll = () => ann.locator('.messages').evaluate(async (list) => {
    const took = [];
    let before = performance.now();
    for (let frame = 0; frame < 180; frame++) {
      list.scrollTop -= 400;
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      took.push(now - before);
      before = now;
    }
    took.sort((one, other) => one - other);
    return { half: took[Math.floor(took.length / 2)], most: took[Math.floor(took.length * 0.95)], longest: took.at(-1) };
  });
  const isSmooth = ({ half, most }) => half <= 34 && most <= 100;
  const frames = await best(scroll, isSmooth);
  const told = `half within ${Math.round(frames.half)} ms, 95 of 100 within ${Math.round(frames.most)} ms, the longest ${Math.round(frames.longest)} ms`;
  console.log(`frames of 10,000 messages: ${told}`);
  assert.ok(isSmooth(frames), told);
  assert.ok((await ann.locator('.message').count()) > 0, 'something is in sight');
  await ann.getByRole('button', { name: 'Newest' }).click();
  await eventually('the newest is in sight again', () => newest.isVisible());
});
