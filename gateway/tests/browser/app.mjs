// The app as people use it: what they press and what they read.

import assert from 'node:assert/strict';

import { eventually } from '../clients/harness.mjs';
import { sees } from './browser.mjs';

/** Comes in under a name, and is in the room of the address. */
export async function comeIn(device, url, name) {
  const page = await device.open(url);
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Come in', exact: true }).click();
  await isConnected(page);
  return page;
}

/** Comes in with a token. */
export async function signIn(device, url, token) {
  const page = await device.open(url);
  await page.getByText('Sign in with a token').click();
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await isConnected(page);
  return page;
}

export const isConnected = (page) => sees(page, '.connection', /Connected/);

/** Opens the private talk with somebody of the room. */
export async function writeTo(page, name) {
  await page.getByRole('link', { name: `Write to ${name} privately` }).click();
  await sees(page, 'h1', new RegExp(`^${name}`));
}

export async function say(page, text) {
  await page.getByPlaceholder('Say something').fill(text);
  await page.keyboard.press('Enter');
}

/** The texts of all messages that are drawn and kept: none that is on its way. */
export const shown = (page) => page.locator('.message:not(.pending) .text').allInnerTexts();

/** Waits until a message is in sight. */
export const reads = (page, text, milliseconds) =>
  eventually(`"${text}" is read`, async () => (await shown(page)).includes(text), milliseconds);

export const link = (url, room) => `${url}/#/room/${encodeURIComponent(room)}`;

/** Goes through the whole list from its beginning, as somebody does who reads it all. */
export async function readAll(page) {
  const found = [];
  const list = page.locator('.messages');
  await list.evaluate((element) => (element.scrollTop = 0));
  await eventually('the end of the list is read', async () => {
    await page.waitForTimeout(60);
    for (const text of await shown(page)) if (!found.includes(text)) found.push(text);
    return list.evaluate((element) => {
      const isEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 1;
      element.scrollTop += element.clientHeight * 0.6;
      return isEnd;
    });
  }, 30_000);
  return found;
}

/** Everything that was said is there once, in its order. */
export function assertWhole(texts, said) {
  assert.deepEqual(texts.filter((text) => said.includes(text)), said);
}
