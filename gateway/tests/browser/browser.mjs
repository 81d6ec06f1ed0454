// One browser for a test file, devices in it that know nothing of each other, and what every page is held to.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

import { chromium } from 'playwright-core';

import { eventually } from '../clients/harness.mjs';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const pictures = process.env.PICTURES;

export const PHONE = { width: 390, height: 844 };
export const DESK = { width: 1280, height: 800 };
/** Longer than a page takes when the machine is busy; nothing waits for it that goes well. */
const PATIENCE_MS = 15_000;

export class Browser {
  #browser;
  #devices = [];

  static async start() {
    const browser = new Browser();
    browser.#browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
    return browser;
  }

  /** Somebody's device, with nothing on it. */
  async device(options = {}) {
    const context = await this.#browser.newContext({ viewport: DESK, locale: 'en-GB', ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    const device = new Device(context);
    this.#devices.push(device);
    return device;
  }

  /** Closes all devices. What their pages complained about fails the test. */
  async closeDevices() {
    const devices = this.#devices.splice(0);
    await Promise.all(devices.map(({ context }) => context.close()));
    assert.deepEqual(devices.flatMap(({ complaints }) => complaints), [], 'the pages complain');
  }

  async stop() {
    await this.#browser?.close();
  }
}

export class Device {
  /** Errors of scripts, and what the policy of the page forbids. A connection that fails is none. */
  complaints = [];

  constructor(context) {
    this.context = context;
  }

  /** Opens a page in a tab of its own. */
  async open(url) {
    const page = await this.context.newPage();
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      const isNetwork = /Failed to load resource|WebSocket connection to|net::ERR_/.test(message.text());
      if (message.type() === 'error' && !isNetwork) this.complaints.push(message.text());
    });
    await page.goto(url);
    return page;
  }
}

/** Nobody is kept out: no finding of axe-core that is serious or critical. */
export async function assertAccessible(page, what) {
  // By the debugger's way in: the page's policy lets no script in that is not its own.
  const violations = await page.evaluate(`(async () => {
    ${await readFile(axe, 'utf8')}
    const { violations } = await axe.run(document, { resultTypes: ['violations'] });
    return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
      .map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html.slice(0, 160)).join(' | '));
  })()`);
  assert.deepEqual(violations, [], what);
}

/** Keeps a picture if somebody wants to look (`PICTURES=folder`). */
export async function picture(page, name) {
  if (pictures) await page.screenshot({ path: path.join(pictures, `${name}.png`), animations: 'disabled' });
}

/** The bytes that went over the network for everything that a page loads the first time. */
export async function firstLoad(page, load) {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.setCacheDisabled', { cacheDisabled: true });
  let bytes = 0;
  session.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
  await load();
  await session.detach();
  return bytes;
}

/** Waits until a text is read somewhere in a part of the page. */
export function sees(page, selector, pattern, milliseconds = PATIENCE_MS) {
  return eventually(`${selector} says ${pattern}`, async () => {
    const text = await page.locator(selector).first().innerText();
    assert.match(text, pattern);
    return true;
  }, milliseconds);
}

/** The first of three measurements that is good, or the last: a machine that does something else makes one of them slow. */
export async function best(measure, isGood) {
  let measured;
  for (let turn = 0; turn < 3; turn++) {
    measured = await measure();
    if (isGood(measured)) break;
  }
  return measured;
}
