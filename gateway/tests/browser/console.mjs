// The console as operators use it: what they press and what they read.

import assert from 'node:assert/strict';

import { RawClient } from '../clients/rawclient.mjs';

/** Opens the console of a node and signs in. */
export async function signIn(device, node, token) {
  const page = await device.open(`${node.admin}/console/`);
  await submit(page, token);
  await page.getByRole('heading', { name: 'Cluster', level: 1 }).waitFor();
  return page;
}

/** Says who one is. */
export async function submit(page, token) {
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** Goes to a page by its link. */
export async function goTo(page, name) {
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name, exact: true }).click();
  await page.getByRole('heading', { name, level: 1 }).waitFor();
}

/** Goes where an address leads. */
export const show = (page, hash) => page.evaluate((to) => (location.hash = to), hash);

/** Answers the question that is asked before something is done. */
export const answer = (page, verb) => page.getByRole('dialog').getByRole('button', { name: verb, exact: true }).click();

/** How long, in ms, the page needed to show what came of each key and click while `use` was under way; the worst. */
export async function slowest(page, use) {
  await page.evaluate(() => {
    window.inputs = [];
    const note = (list) => window.inputs.push(...list.getEntries().map(({ name, duration }) => ({ name, duration })));
    // 16 ms is the least that browsers tell; whatever is quicker is quick.
    new PerformanceObserver(note).observe({ type: 'event', durationThreshold: 16 });
  });
  await use();
  const inputs = await page.evaluate(() => window.inputs);
  return inputs.reduce((worst, input) => (input.duration > worst.duration ? input : worst), { name: 'none', duration: 0 });
}

/** Opens sessions that say nothing: each in one of so many rooms, spread over the nodes. */
export async function openCrowd(nodes, count, rooms, token) {
  const crowd = [];
  const enter = async (number) => {
    const raw = await RawClient.open(nodes[number % nodes.length].url);
    raw.send(`40${JSON.stringify({ token })}`);
    await raw.frame((frame) => frame.startsWith('40{'));
    const ack = await raw.ask(JSON.stringify(['join', { room: `crowd-${String(number % rooms).padStart(4, '0')}` }]));
    assert.equal(ack.ok, true);
    crowd.push(raw);
  };
  // A few at a time: the machine is theirs and the nodes'.
  const waiting = Array.from({ length: count }, (_, number) => number);
  await Promise.all(Array.from({ length: 40 }, async () => {
    while (waiting.length > 0) await enter(waiting.pop());
  }));
  return { leave: () => crowd.forEach((raw) => raw.end()) };
}
