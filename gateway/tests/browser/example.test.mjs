// The page of the quick start, built as its reader builds it, and used from an origin of its own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { promisify } from 'node:util';

import { eventually, startNode } from '../clients/harness.mjs';
import { Server } from '../clients/server.mjs';
import { Browser, sees } from './browser.mjs';

const folder = path.resolve(import.meta.dirname, '../../../examples/react');

let node;
let browser;
let site;
before(async () => {
  [node, browser] = await Promise.all([startNode(), Browser.start()]);
  const env = { ...process.env, VITE_GATEWAY: node.url };
  await promisify(execFile)('npm', ['run', 'build'], { cwd: folder, env });
  site = new Server('vite preview');
  const vite = path.join(folder, 'node_modules/vite/bin/vite.js');
  const argumentsAt = (port) => [vite, 'preview', '--host', '127.0.0.1', '--strictPort', '--port', String(port)];
  const isReady = async (port) => (await fetch(`http://127.0.0.1:${port}/`).catch(() => null))?.ok;
  await site.run(process.execPath, argumentsAt, { cwd: folder }, isReady);
});
afterEach(() => browser.closeDevices());
after(async () => {
  await browser?.stop();
  await site?.stop();
  await node?.stop();
});

test('a page of one\'s own talks, goes on after it was away, and shows everything once', { timeout: 60_000 }, async () => {
  const open = async () => {
    const page = await (await browser.device()).open(`http://127.0.0.1:${site.port}`);
    await sees(page, '[role=status]', /^connected$/);
    return page;
  };
  const say = async (page, text) => {
    await page.getByLabel('Message').fill(text);
    await page.keyboard.press('Enter');
  };
  const shown = (page) => page.locator('li').allInnerTexts();
  const shows = (page, texts) => eventually(`it shows ${texts}`, async () => {
    assert.deepEqual(await shown(page), texts.map((text) => `somebody: ${text}`));
    return true;
  }, 20_000);
  const [ann, bob] = [await open(), await open()];
  await say(ann, 'one');
  await shows(bob, ['one']);
  await ann.evaluate(() => globalThis.dispatchEvent(new Event('offline')));
  await sees(ann, '[role=status]', /^away$/);
  await say(bob, 'two');
  await say(bob, 'three');
  await Promise.all([shows(ann, ['one', 'two', 'three']), shows(bob, ['one', 'two', 'three'])]);
  await say(ann, 'four');
  // Who comes late has what was said before.
  const late = await open();
  await Promise.all([ann, bob, late].map((page) => shows(page, ['one', 'two', 'three', 'four'])));
});
