// Users who prove who they are: several devices of one of them, and what an operator does to a session.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { eventually, makeKey, mintToken, request, configured, startNode } from '../clients/harness.mjs';
import { isConnected, link, reads, say, signIn } from './app.mjs';
import { Browser, sees } from './browser.mjs';

const [SECRET, OPERATOR] = ['a secret of this test', 'a token of operators'];

let node;
let browser;
let settings;
let key;
before(async () => {
  const made = await makeKey('--name', 'shop', '--scope', 'notify');
  key = made.key;
  settings = await configured(made.toml);
  const environment = { ...settings.settings, GATEWAY_AUTH__SECRET: SECRET, GATEWAY_ADMIN__TOKEN: OPERATOR };
  [node, browser] = await Promise.all([startNode(environment), Browser.start()]);
});
afterEach(() => browser.closeDevices());
after(async () => {
  await browser?.stop();
  await node?.stop();
  await settings?.remove();
});

const come = async (user, ...more) => signIn(await browser.device(), link(node.url, 'tea'), await mintToken(SECRET, '--user', user, ...more));

/** A back end tells a user something. */
async function tell(user, message) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const { status, body } = await request(`${node.url}/api/v1/users/${user}/notifications`, { method: 'POST', headers, body: JSON.stringify({ message }) });
  assert.equal(status, 201, body);
}

test('who brings no good token is told why, and may try another', { timeout: 60_000 }, async () => {
  const device = await browser.device();
  const page = await device.open(node.url);
  await page.getByRole('button', { name: 'Come in', exact: true }).click();
  await sees(page, '.connection', /lets in who brings a token/);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByLabel('Token', { exact: true }).fill('no token');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await sees(page, '#no-token', /no token/);
  await page.getByLabel('Token', { exact: true }).fill(await mintToken('another secret', '--user', 'ann'));
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await sees(page, '.connection', /not valid here/);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByLabel('Token', { exact: true }).fill(await mintToken(SECRET, '--user', 'ann'));
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await isConnected(page);
});

test('what a user is told is heard on two devices, and read on both when it is on one', { timeout: 60_000 }, async () => {
  const [desk, phone] = await Promise.all([come('ann'), come('ann')]);
  const rings = (page, unread) => eventually(`${unread} unread`, () => page.getByRole('button', { name: `Notifications, ${unread} unread` }).count());
  await tell('ann', 'your tea is ready');
  await tell('ann', 'your tea is cold');
  await Promise.all([rings(desk, 2), rings(phone, 2)]);
  await desk.getByRole('button', { name: 'Notifications, 2 unread' }).click();
  await sees(desk, '.notices', /cold[^]*ready/);
  await desk.getByRole('button', { name: 'Mark as read' }).first().click();
  await rings(phone, 1);
  await phone.getByRole('button', { name: 'Notifications, 1 unread' }).click();
  await phone.getByRole('button', { name: 'Mark all as read' }).click();
  await Promise.all([eventually('all are read', async () => (await desk.locator('.notices .unread').count()) === 0), rings(desk, 0)]);
  // A device that comes later finds them, read.
  const late = await come('ann');
  await late.getByRole('button', { name: 'Notifications, 0 unread' }).click();
  await sees(late, '.notices', /cold[^]*ready/);
});

test('an operator ends a session: the page says so, and goes on when somebody wants', { timeout: 60_000 }, async () => {
  const [bob, ann] = await Promise.all([come('bob'), come('ann')]);
  const headers = { authorization: `Bearer ${OPERATOR}` };
  const { status } = await request(`${node.nodes[0].admin}/users/bob/sockets`, { method: 'DELETE', headers });
  assert.equal(status, 204);
  await sees(bob, '.connection', /An operator ended this session\. It does not come back by itself\./);
  await sees(ann, '.connection', /^Connected/);
  await bob.getByRole('button', { name: 'Begin a new session' }).click();
  await isConnected(bob);
  await say(bob, 'here again');
  await reads(ann, 'here again');
});

test('a token whose time is over ends with the reason', { timeout: 60_000 }, async () => {
  const eve = await come('eve', '--ttl', '3s');
  await sees(eve, '.connection', /The token has expired/);
});
