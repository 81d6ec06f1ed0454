// A cluster on this machine that breaks while two pages look: a node is killed, then Redis goes away and comes back.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { setTimeout as delay } from 'node:timers/promises';

const here = import.meta.dirname;
const { io } = createRequire(path.join(here, '../../gateway/web/package.json'))('socket.io-client');
const ROOM = 'demo';
/** How long one reads. */
const READ_MS = 8_000;

const say = (text) => process.stdout.write(`${text}\n`);
const cluster = spawn(path.join(here, 'cluster.sh'), ['--json'], { stdio: ['pipe', 'pipe', 'inherit'] });
const events = [];
createInterface({ input: cluster.stdout }).on('line', (line) => events.push(JSON.parse(line)));
cluster.on('exit', (code) => process.exit(code ?? 1));
process.on('SIGINT', () => cluster.stdin.end());

/** Takes the first event for which a question is true. */
async function event(is) {
  for (;;) {
    const index = events.findIndex(is);
    if (index >= 0) return events.splice(index, 1)[0];
    await delay(50);
  }
}

async function startAgain(name) {
  cluster.stdin.write(`start ${name}\n`);
  await event(({ event: kind, name: which }) => kind === 'started' && which === name);
}

/** Counts aloud in the room, each number once: what is not acknowledged is said again with the same id. */
async function count(url) {
  const socket = io(url, { retries: Infinity, ackTimeout: 5_000, forceNew: true });
  socket.on('connect', () => socket.recovered || socket.emit('join', { room: ROOM }, () => undefined));
  for (let number = 1; ; number++) {
    const publish = () => socket.emitWithAck('publish', { room: ROOM, data: `${number}`, id: `demo-${process.pid}-${number}` });
    for (let answer = await publish(); !answer.ok; answer = await publish()) await delay(answer.error.retryAfterMs ?? 1_000);
    await delay(1_000);
  }
}

const { url, nodes, redis_pid: redis } = await event((one) => one.url);
say(`Open this in two tabs:  ${url}/#/room/${ROOM}`);
say('Somebody counts there, a number each second. Whatever breaks, every number is in both tabs, once and in order.');
void count(url);
const input = createInterface({ input: process.stdin, output: process.stdout });
await input.question('Press Enter when both tabs are in the room. ');

for (const { name, pid } of nodes) {
  say(`${name} is killed (SIGKILL). Who was on it reads "Away", and then "Recovered".`);
  process.kill(pid, 'SIGKILL');
  await event(({ event: kind, name: which }) => kind === 'ended' && which === name);
  await delay(READ_MS);
  await startAgain(name);
  await delay(READ_MS / 2);
}
say('Redis stops. Both stay connected; what you say now waits, and the page says so.');
process.kill(redis, 'SIGTERM');
await event(({ event: kind, name }) => kind === 'ended' && name === 'redis');
await delay(READ_MS);
await startAgain('redis');
say('Redis is back: what waited is there, and the numbers go on without a gap.');
await input.question('Press Enter to end. ');
input.close();
cluster.stdin.end();
await once(cluster, 'exit');
