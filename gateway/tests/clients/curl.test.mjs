// curl as the pages show it: does what the README prints work as it stands there, and does the example tell things once?

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import { member, ok } from './clients.mjs';
import { Front } from './examples.mjs';
import { binary, configured, eventually, hermeticEnvironment, startNode } from './harness.mjs';

const repository = path.resolve(import.meta.dirname, '../../..');

let directory;
let snippets;
let configuration;
let node;
let key;
before(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), 'gateway-readme.'));
  await mkdir(path.join(directory, 'bin'));
  await symlink(binary, path.join(directory, 'bin/gateway'));
  snippets = await blocks('README.md', 'Publish from a back end');
  // The first one makes the key, without which there is no API.
  await bash(snippets[0].text);
  configuration = await configured(await readFile(path.join(directory, 'gateway.toml'), 'utf8'));
  node = await startNode(configuration.settings);
  // The README's address is a node's by default. Here it leads to the one on a port of the system's choice.
  const { host } = new URL(node.url);
  await writeFile(path.join(directory, '.curlrc'), `connect-to = "127.0.0.1:3000:${host}"\n`);
  key = (await bash(`grep -o 'gw_.*' gateway.toml`)).trim();
});
after(async () => {
  await node?.stop();
  await configuration?.remove();
  await rm(directory, { recursive: true });
});

/** The fenced blocks under a heading of a page: `{language, text}`. */
async function blocks(page, heading) {
  const text = await readFile(path.join(repository, page), 'utf8');
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  const fences = section.matchAll(/^```(\w+)\n(.*?)^```$/gms);
  return [...fences].map(([, language, inner]) => ({ language, text: inner }));
}

/** What a script prints, run as a reader would who has just built the gateway. */
async function bash(script) {
  const env = hermeticEnvironment({ PATH: `${directory}/bin:${process.env.PATH}`, CURL_HOME: directory });
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], { cwd: directory, env });
  return stdout;
}

/** JSON with the same fields, but for offsets, which nobody can know before. */
const withoutOffsets = (text) => JSON.parse(text, (name, value) => (name === 'offset' ? typeof value : value));

test('the README works as it is printed, and clients hear it', { timeout: 60_000 }, async () => {
  const { socket, inbox } = await member(node.url, { transports: ['websocket'] }, 'orders-7');
  const heard = [];
  socket.on('paid', (data, offset) => heard.push(['paid', data, offset]));
  socket.on('packed', (data, offset) => heard.push(['packed', data, offset]));

  assert.deepEqual(snippets.map(({ language }) => language), ['sh', 'sh', 'json', 'sh', 'json', 'sh']);
  // They share what they set, as in one terminal.
  const marker = '-- the next one --';
  const scripts = snippets.slice(1).filter(({ language }) => language === 'sh').map(({ text }) => text);
  const answers = (await bash(scripts.join(`\necho '${marker}'\n`))).split(`${marker}\n`);
  const printed = snippets.filter(({ language }) => language === 'json').map(({ text }) => text);
  for (const [index, text] of printed.entries()) {
    assert.deepEqual(withoutOffsets(answers[index]), withoutOffsets(text));
  }
  const offsets = [JSON.parse(answers[0]).offset, JSON.parse(answers[1]).items[0].body.offset];
  const { events } = JSON.parse(answers[2]);
  const expected = [['paid', { number: 7 }, offsets[0]], ['packed', { parcels: 2 }, offsets[1]]];
  assert.deepEqual(events.map(({ event, args, offset }) => [event, ...args, offset]), expected);
  await eventually('all is heard', () => heard.length >= 2);
  assert.deepEqual(heard, expected);
  assert.deepEqual(inbox.disconnects, []);
});

test('the example tells once what it has to say three times', { timeout: 60_000 }, async () => {
  const { socket } = await member(node.url, { transports: ['websocket'] }, 'orders-/ä?');
  const front = await Front.start(node.url);
  const tell = (...args) => promisify(execFile)(path.join(repository, 'examples/curl/tell.sh'), args, {
    env: hermeticEnvironment({ CURL_HOME: directory, REALTIME_URL: front.url, REALTIME_KEY: key }),
  });
  try {
    front.plans = [503, 'lose'];
    const { stdout } = await tell('orders-/ä?', 'the "event" \\', '{"deep": [1, "ü"]}', 'id 1');
    assert.equal(front.seen.length, 3);
    const { offset, duplicate } = JSON.parse(stdout);
    assert.equal(duplicate, true);
    const { events } = await ok(socket, 'history', { room: 'orders-/ä?' });
    const said = [offset, 'the "event" \\', [{ deep: [1, 'ü'] }]];
    assert.deepEqual(events.map(({ offset, event, args }) => [offset, event, args]), [said]);

    front.seen.length = 0;
    const failed = (...args) => assert.rejects(tell(...args), ({ code, stderr }) => code === 1 && /"code"/.test(stderr));
    await failed('elsewhere', 'event', '1', 'id 2');
    await failed('orders-7', 'event', 'no JSON', 'id 3');
    assert.equal(front.seen.length, 2, 'what is refused is not tried again');
  } finally {
    front.stop();
  }
});
