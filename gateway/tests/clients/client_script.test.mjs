// The official client as pages get it: loaded from the gateway itself, and used.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import vm from 'node:vm';

import { WebSocket } from 'ws';

import { eventually, request, startNode } from './harness.mjs';

const BUNDLES = ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'];

let node;
before(async () => {
  node = await startNode();
});
after(() => node?.stop());

const load = (file, options) => request(`${node.url}/socket.io/${file}`, options);

/** What a page has, as far as the client asks for it. */
function page() {
  const globals = { WebSocket, URL, URLSearchParams, TextEncoder, TextDecoder, console, setTimeout, clearTimeout };
  const ofWindow = { location: new URL(node.url), addEventListener() {}, removeEventListener() {} };
  const context = vm.createContext({ ...globals, ...ofWindow });
  vm.runInContext('globalThis.self = globalThis.window = globalThis;', context);
  return context;
}

for (const file of BUNDLES.filter((bundle) => !/esm|msgpack/.test(bundle))) {
  test(`a page that loads ${file} joins, publishes and hears`, { timeout: 30_000 }, async () => {
    const { status, body } = await load(file);
    assert.equal(status, 200, body.slice(0, 200));
    const context = page();
    vm.runInContext(body, context, { filename: file });
    const socket = context.io(node.url, { transports: ['websocket'] });
    try {
      const heard = [];
      socket.on('message', ({ data }) => heard.push(data));
      assert.equal((await socket.emitWithAck('join', { room: file })).ok, true);
      assert.equal((await socket.emitWithAck('publish', { room: file, data: 'from a page' })).ok, true);
      await eventually('it hears itself', () => heard.length === 1);
      assert.deepEqual(heard, ['from a page']);
    } finally {
      socket.disconnect();
    }
  });
}

test('every bundle has its source map, and both have a version that can be asked for again', async () => {
  for (const file of BUNDLES.flatMap((bundle) => [bundle, `${bundle}.map`])) {
    const { status, headers, body } = await load(file);
    assert.equal(status, 200, file);
    const type = file.endsWith('.map') ? 'application/json' : 'application/javascript';
    assert.equal(headers['content-type'], `${type}; charset=utf-8`, file);
    assert.equal(headers['cache-control'], 'public, max-age=0', file);
    assert.match(headers.etag, /^"\d+\.\d+\.\d+"$/, file);
    if (file.endsWith('.map')) assert.equal(JSON.parse(body).version, 3, file);
    else assert.ok(body.includes(`//# sourceMappingURL=${file}.map`), file);
    const again = await load(file, { headers: { 'if-none-match': headers.etag } });
    assert.deepEqual([again.status, again.body], [304, ''], file);
    const head = await load(file, { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers.etag, head.body], [200, headers.etag, ''], file);
  }
});

test('browsers get it compressed', async () => {
  const plain = (await load('socket.io.min.js')).body;
  const response = await fetch(`${node.url}/socket.io/socket.io.min.js`, { headers: { 'accept-encoding': 'gzip' } });
  assert.equal(response.headers.get('content-encoding'), 'gzip');
  assert.ok(Number(response.headers.get('content-length')) < plain.length / 2);
  assert.equal(await response.text(), plain);
});
