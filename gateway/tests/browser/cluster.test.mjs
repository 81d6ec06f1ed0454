// Three nodes behind HAProxy, which are killed under the pages, and their Redis too.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { eventually, startCluster } from '../clients/harness.mjs';
import { assertWhole, comeIn, link, readAll, reads, say } from './app.mjs';
import { Browser, sees } from './browser.mjs';

let cluster;
let browser;
before(async () => {
  [cluster, browser] = await Promise.all([startCluster(), Browser.start()]);
});
afterEach(() => browser.closeDevices());
after(async () => {
  await browser?.stop();
  await cluster?.stop();
});

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => `number ${from + index}`);

const connections = () => Promise.all(cluster.nodes.map((node) => cluster.metric(node, 'gateway_connections')));
const sum = (counts) => counts.reduce((all, count) => all + count, 0);

/** A page, and the node that has its connection: the one that has one more with it. */
async function comeInAt(name, room, others = 0) {
  const before = await eventually('the pages of before are gone', async () => {
    const counts = await connections();
    return sum(counts) === others && counts;
  });
  const page = await comeIn(await browser.device(), link(cluster.url, room), name);
  const node = await eventually('the node is known', async () => {
    const counts = await connections();
    return cluster.nodes.find((_, index) => counts[index] > before[index]);
  });
  return { page, node };
}

test('a node is killed under a page, which says so and misses nothing', { timeout: 90_000 }, async () => {
  const ann = await comeInAt('ann', 'tea');
  const bob = await comeInAt('bob', 'tea', 1);
  for (const text of numbers(1, 5)) await say(bob.page, text);
  await reads(ann.page, 'number 5');
  cluster.signal(ann.node, 'SIGKILL');
  await cluster.ended(ann.node.name);
  for (const text of numbers(6, 17)) await say(bob.page, text);
  await sees(ann.page, '.connection', /Recovered/);
  await say(ann.page, 'back');
  await reads(bob.page, 'back');
  await reads(ann.page, 'back');
  const all = [...numbers(1, 17), 'back'];
  assertWhole(await readAll(ann.page), all);
  assertWhole(await readAll(bob.page), all);
  await cluster.startAgain(ann.node.name);
});

test('a node and Redis go away under two pages: they say what happened, and nothing is missing', { timeout: 120_000 }, async () => {
  const ann = await comeInAt('eve', 'coffee');
  const bob = await comeInAt('dan', 'coffee', 1);
  for (const text of numbers(1, 3)) await say(ann.page, text);
  await reads(bob.page, 'number 3');
  await cluster.redis('SHUTDOWN', 'SAVE');
  assert.equal(await cluster.ended('redis'), 0);
  await say(bob.page, 'number 4');
  await sees(bob.page, '.pending', /Not sent yet: The gateway cannot reach what it needs/);
  cluster.signal(ann.node, 'SIGKILL');
  await cluster.ended(ann.node.name);
  await sees(ann.page, '.connection', /Away|Refused/);
  await cluster.startAgain('redis');
  await reads(bob.page, 'number 4', 30_000);
  // A node that was killed cannot say whether Redis has all that it wrote: then the session begins anew, with what there is.
  await sees(ann.page, '.connection', /Recovered|could not be recovered: the log lost some of its history/, 30_000);
  await say(ann.page, 'number 5');
  await reads(bob.page, 'number 5', 30_000);
  await reads(ann.page, 'number 5', 30_000);
  assertWhole(await readAll(ann.page), numbers(1, 5));
  assertWhole(await readAll(bob.page), numbers(1, 5));
  await cluster.startAgain(ann.node.name);
});
