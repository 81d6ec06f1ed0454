// Questions of back ends to official clients: what these answer with, over every transport and parser.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';

import msgpack from 'socket.io-msgpack-parser';

import { connect, MODES, ok } from './clients.mjs';
import { configured, request, startNode } from './harness.mjs';

const binary = process.env.GATEWAY_BIN ?? new URL('../../../target/release/gateway', import.meta.url).pathname;

let cluster;
let config;
let key;
before(async () => {
  const { stdout } = await promisify(execFile)(binary, ['key', '--name', 'tests', '--scope', 'publish,read'], { env: {} });
  key = /gw_\S+/.exec(stdout)[0];
  config = await configured(stdout);
  cluster = await startNode(config.settings);
});
after(async () => {
  await cluster?.stop();
  await config?.remove();
});

async function ask(path, question) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const body = JSON.stringify(question);
  const answer = await request(`${cluster.url}/api/v1/${path}`, { method: 'POST', headers, body });
  assert.equal(answer.status, 200, answer.body);
  return JSON.parse(answer.body);
}

for (const [mode, options] of [...Object.entries(MODES), ['MessagePack', { parser: msgpack }]]) {
  describe(`over ${mode}`, () => {
    test('a client answers by the function behind the arguments', { timeout: 30_000 }, async () => {
      const socket = await connect(cluster.url, options);
      const room = `room of ${mode}`;
      await ok(socket, 'join', { room });
      socket.on('which version', (question, text, answer) => answer({ [question.of]: '1.0' }, text));
      const path = `rooms/${encodeURIComponent(room)}/ask`;
      const { answers, asked } = await ask(path, { event: 'which version', args: [{ of: 'app' }, 'a text'] });
      assert.equal(asked, 1);
      assert.deepEqual(answers.map(({ args, user }) => ({ args, user })), [
        { args: [{ app: '1.0' }, 'a text'], user: null },
      ]);
      socket.on('file', (answer) => answer({ bytes: Buffer.from([1, 2]) }));
      const [file] = (await ask(path, { event: 'file' })).answers;
      assert.deepEqual(file.args, [{ bytes: { _placeholder: true, num: 0 } }]);
      assert.deepEqual(file.attachments, ['AQI=']);
      // A client that has no such function says nothing.
      const silent = await ask(path, { event: 'unknown', timeoutMs: 200 });
      assert.deepEqual([silent.asked, silent.silent, silent.answers], [1, 1, []]);
      // Its own acks and what it hears go on as before.
      await ok(socket, 'publish', { room, data: 1 });
    });
  });
}
