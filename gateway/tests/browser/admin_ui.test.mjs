// The official Admin UI in a browser: it shows the sockets, rooms and events of all nodes, and ends a session of another one.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { connect } from '../clients/clients.mjs';
import { eventually, mintToken, startCluster } from '../clients/harness.mjs';

const [TOKEN, VIEWER, SECRET] = ['a token of operators', 'a token of viewers', 'a secret'];
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.png': 'image/png' };
/** How long anything may take that somebody waits for. */
const PATIENCE = 15_000;

let cluster, browser, pages, address;
before(async () => {
  cluster = await startCluster({
    GATEWAY_ADMIN__TOKEN: TOKEN, GATEWAY_ADMIN__VIEWER_TOKEN: VIEWER, GATEWAY_ADMIN__PAYLOADS: 'true',
    GATEWAY_AUTH__SECRET: SECRET,
  });
  [pages, address] = await served();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
});
after(async () => {
  await browser?.close();
  pages?.close();
  await cluster?.stop();
});

/** The front end of the official package, as its README has people host it. */
async function served() {
  const require = createRequire(new URL('../clients/package.json', import.meta.url));
  const root = path.join(path.dirname(require.resolve('@socket.io/admin-ui')), '../ui/dist');
  const server = createServer(async (request, response) => {
    const name = new URL(request.url, 'http://localhost').pathname;
    const file = path.join(root, path.normalize(name === '/' ? '/index.html' : name));
    try {
      const body = await readFile(file);
      response.setHeader('content-type', TYPES[path.extname(file)] ?? 'application/octet-stream').end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return [server, `http://127.0.0.1:${server.address().port}`];
}

/** The page, signed in to a node as people do it. */
async function signedIn(url, password) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(address);
  await page.getByLabel('Server URL').fill(url);
  await page.getByLabel('Username').fill('anybody');
  await page.getByLabel('Password').fill(password);
  await page.getByText('Advanced options').click();
  // It is hosted elsewhere, and only websockets go across origins.
  await page.getByText('WebSocket only?').click();
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.getByRole('button', { name: 'Connect' }).waitFor({ state: 'hidden' });
  return page;
}

const open = (page, title) => page.getByRole('navigation').getByRole('link', { name: title, exact: true }).click();
const row = (page, text) => page.getByRole('row').filter({ hasText: text });

async function member(node, user, room) {
  const socket = await connect(node.url, { auth: { token: await mintToken(SECRET, '--user', user) } });
  assert.equal((await socket.timeout(5_000).emitWithAck('join', { room })).ok, true);
  return socket;
}

test('sockets, rooms and events of all nodes are seen, and one of another node is ended', { timeout: 90_000 }, async () => {
  const [first, second, third] = cluster.nodes;
  const alice = await member(second, 'alice', 'lounge');
  const bob = await member(third, 'bob', 'lounge');
  const page = await signedIn(first.admin, TOKEN);

  await open(page, 'Servers');
  for (const { name } of cluster.nodes) await row(page, name).waitFor();

  await open(page, 'Sockets');
  for (const one of [alice, bob]) await row(page, one.id).waitFor();

  await open(page, 'Rooms');
  await row(page, 'lounge').filter({ hasText: '2' }).waitFor();
  const carol = await member(second, 'carol', 'lounge');
  await row(page, 'lounge').filter({ hasText: '3' }).waitFor();

  await open(page, 'Events');
  await carol.timeout(5_000).emitWithAck('publish', { room: 'lounge', data: 'what nobody else says' });
  await row(page, 'publish').first().getByRole('button').click();
  await page.getByText('what nobody else says').first().waitFor();

  await open(page, 'Sockets');
  const [{ id }, ended] = [alice, new Promise((resolve) => alice.once('disconnect', resolve))];
  await row(page, id).getByRole('button').click();
  assert.equal(await ended, 'io server disconnect');
  // It shows the one that was clicked at.
  await open(page, 'Sockets');
  await row(page, bob.id).waitFor();
  await row(page, id).waitFor({ state: 'hidden' });
  assert.ok(bob.connected && carol.connected);

  // Loaded anew: nobody is asked for the password.
  await page.reload();
  await open(page, 'Sockets');
  await row(page, bob.id).waitFor();
  assert.equal(await page.getByLabel('Password').isVisible(), false);
  await page.context().close();
});

test('a viewer sees them too and can do nothing', { timeout: 60_000 }, async () => {
  const [first, second] = cluster.nodes;
  const dave = await member(second, 'dave', 'garden');
  const page = await signedIn(first.admin, VIEWER);
  await open(page, 'Sockets');
  await row(page, dave.id).waitFor();
  assert.equal(await row(page, dave.id).getByRole('button').count(), 0, 'there is nothing to press');
  await open(page, 'Events');
  await dave.timeout(5_000).emitWithAck('publish', { room: 'garden', data: 'a secret of dave' });
  await eventually('the event is seen', async () => (await row(page, 'publish').count()) > 0, PATIENCE);
  await row(page, 'publish').first().getByRole('button').click();
  await page.getByText('Event arguments').first().waitFor();
  assert.equal(await page.getByText('a secret of dave').count(), 0, 'and what it says is not');
  await page.context().close();
});

test('a wrong password is told, and another can be tried', { timeout: 60_000 }, async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(address);
  await page.getByLabel('Server URL').fill(cluster.nodes[0].admin);
  await page.getByLabel('Password').fill('wrong');
  await page.getByText('Advanced options').click();
  await page.getByText('WebSocket only?').click();
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.getByText('Invalid credentials').waitFor({ timeout: PATIENCE });
  await context.close();
});
