// Bull Board, as a team runs it beside its own workers, on the queues of a running cluster.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, test } from 'node:test';

import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { Queue } from 'bullmq';
import express from 'express';

import { configured, eventually, makeKey, request, startCluster } from './harness.mjs';

const QUEUE = 'orders';

let [calls, refuses] = [[], true];
let cluster, file, key, queue, board, backEnd;

before(async () => {
  backEnd = http.createServer(async (incoming, answer) => {
    const body = Buffer.concat(await incoming.toArray()).toString();
    calls.push({ body, id: incoming.headers['idempotency-key'] });
    answer.writeHead(refuses ? 422 : 204).end();
  });
  await once(backEnd.listen(0, '127.0.0.1'), 'listening');
  const made = await makeKey('--name', 'shop', '--scope', 'jobs');
  key = made.key;
  file = await configured(`
    ${made.toml}
    [[jobs.queue]]
    name = "${QUEUE}"
    [[jobs.back_end]]
    name = "shop"
    url = "http://127.0.0.1:${backEnd.address().port}/"
    secrets = ["what the shop and the gateway share"]
  `);
  cluster = await startCluster(file.settings);
  queue = new Queue(QUEUE, { connection: { host: '127.0.0.1', port: cluster.redisPort }, prefix: 'gateway-jobs' });
  const serverAdapter = new ExpressAdapter();
  createBullBoard({ queues: [new BullMQAdapter(queue)], serverAdapter });
  board = express().use(serverAdapter.getRouter()).listen(0, '127.0.0.1');
  await once(board, 'listening');
});

after(async () => {
  board?.close();
  await queue?.close();
  await cluster?.stop();
  backEnd?.close();
  await file?.remove();
});

async function api(method, path, body) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const answer = await request(`${cluster.url}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.body}`);
  return answer.body && JSON.parse(answer.body);
}

const enqueue = (id) => api('POST', '/jobs', { queue: QUEUE, kind: 'http', id, data: { to: 'shop', body: { order: id } } });

async function onBoard(method, path) {
  const { status, body } = await request(`http://127.0.0.1:${board.address().port}/api/queues${path}`, { method });
  assert.ok(status >= 200 && status < 300, `${method} ${path}: ${status} ${body}`);
  return body && JSON.parse(body);
}

const becomes = (id, state) =>
  eventually(`${id} is ${state}`, async () => (await api('GET', `/jobs/${id}?queue=${QUEUE}`)).state === state);

test('it shows what failed and why, and what it tries again is done', async () => {
  await enqueue('first');
  await becomes('first', 'failed');
  const { queues } = await onBoard('GET', `?activeQueue=${QUEUE}&status=failed&page=1`);
  const shown = queues.find(({ name }) => name === QUEUE);
  assert.equal(shown.counts.failed, 1);
  const [job] = shown.jobs;
  assert.deepEqual([job.id, job.name, job.data], ['first', 'http', { to: 'shop', body: { order: 'first' } }]);
  assert.match(job.failedReason, /422/);
  refuses = false;
  calls = [];
  await onBoard('PUT', `/${QUEUE}/first/retry`);
  await becomes('first', 'completed');
  assert.deepEqual(calls.map(({ id }) => id), ['first']);
});

test('what it pauses begins on no node, one that starts meanwhile included, until it resumes', async () => {
  await onBoard('PUT', `/${QUEUE}/pause`);
  const paused = async () => (await api('GET', '/queues')).queues.find(({ name }) => name === QUEUE).paused;
  await eventually('the nodes know', paused);
  calls = [];
  const [node] = cluster.nodes;
  cluster.signal(node, 'SIGKILL');
  await cluster.ended(node.name);
  await cluster.startAgain(node.name);
  await eventually('it is ready', async () => (await cluster.readiness(node)) === 200);
  await enqueue('second');
  // A job of another queue, which is done meanwhile, shows that the nodes work.
  await api('POST', '/jobs', { kind: 'http', id: 'other', data: { to: 'shop', body: null } });
  await eventually('the other is done', async () => (await api('GET', '/jobs/other')).state === 'completed');
  assert.equal((await api('GET', `/jobs/second?queue=${QUEUE}`)).state, 'waiting');
  assert.deepEqual(calls.map(({ id }) => id), ['other']);
  await onBoard('PUT', `/${QUEUE}/resume`);
  await becomes('second', 'completed');
  assert.equal(await paused(), false);
});

test('what it removes is gone for everybody', async () => {
  refuses = true;
  await enqueue('third');
  await becomes('third', 'failed');
  await onBoard('PUT', `/${QUEUE}/third/clean`);
  const gone = await request(`${cluster.url}/api/v1/jobs/third?queue=${QUEUE}`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(gone.status, 404);
});
