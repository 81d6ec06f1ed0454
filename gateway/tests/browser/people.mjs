// People with a browser each: what they do in a page, what they see there, and what their browsers complain about.

import assert from 'node:assert/strict';

import { Browser } from './browser.mjs';

const browser = await Browser.start();

/** Ends the browser. */
export const closeBrowser = () => browser.stop();

/** Those who visit one place. */
export class People {
  #present = new Set();

  /** Opens a page, in a browser that knows nothing of those of others. */
  async visit(url, name, { prepare } = {}) {
    const { context } = await browser.device();
    const person = new Person(name, context);
    this.#present.add(person);
    await person.open(url, prepare);
    return person;
  }

  /** Closes their pages, none of which may have complained. */
  async leave(...leaving) {
    for (const one of leaving) this.#present.delete(one);
    const complaints = leaving.flatMap(({ name, complaints }) => complaints.map((complaint) => `${name}: ${complaint}`));
    await Promise.all(leaving.map(({ context }) => context.close()));
    assert.deepEqual(complaints, []);
  }

  allLeave() {
    return this.leave(...this.#present);
  }
}

class Person {
  /** What went wrong in the page, and what the network said beside a success. */
  complaints = [];
  /** Every websocket of the page. */
  websockets = [];

  constructor(name, context) {
    this.name = name;
    this.context = context;
  }

  async open(url, prepare) {
    this.page = await this.context.newPage();
    this.#listen();
    await prepare?.(this.page);
    await this.page.goto(url);
  }

  #listen() {
    const { page, complaints } = this;
    page.on('console', (line) => {
      if (['error', 'warning'].includes(line.type())) complaints.push(line.text());
    });
    page.on('pageerror', (error) => complaints.push(`${error}`));
    page.on('response', (response) => {
      if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
    });
    page.on('requestfailed', (request) => {
      // Given up by the page itself: a poll of a connection that it closed.
      const why = request.failure()?.errorText;
      if (why !== 'net::ERR_ABORTED') complaints.push(`${why} ${request.url()}`);
    });
    page.on('websocket', (websocket) => this.websockets.push(websocket));
  }

  /** Takes back what the page complained about, because it had to. */
  excuse() {
    return this.complaints.splice(0);
  }

  /** Fills in fields, by what stands in them as a hint. */
  async fills(fields) {
    for (const [hint, text] of Object.entries(fields)) await this.page.getByPlaceholder(hint, { exact: true }).fill(text);
  }

  /** Fills in one field, and presses Enter. */
  async says(hint, text) {
    const field = this.page.getByPlaceholder(hint, { exact: true });
    await field.fill(text);
    await field.press('Enter');
  }

  async clicks(button) {
    await this.page.getByRole('button', { name: button, exact: true }).first().click();
  }

  /** Sees, sooner or later, just these texts: in what a selector finds, or in the items of a list with that label. */
  async sees(where, ...expected) {
    const selector = /^[#.[]/.test(where) ? where : `[aria-label="${where}"] li`;
    // Looked for in the page: a test that asked again and again would keep the processor from it.
    const isSo = ([selector, expected]) => {
      const texts = [...document.querySelectorAll(selector)].map(({ textContent }) => textContent.trim());
      return JSON.stringify(texts) === JSON.stringify(expected);
    };
    const { page } = this;
    await page.waitForFunction(isSo, [selector, expected], { timeout: 15_000, polling: 50 }).catch(async () => {
      const seen = (await page.locator(selector).allTextContents()).map((text) => text.trim());
      assert.deepEqual(seen, expected, `${where} at ${this.name}'s`);
    });
  }
}
