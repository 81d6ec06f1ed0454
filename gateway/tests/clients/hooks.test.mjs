// Hooks: what a back end in Node is told of official clients, and whether it knows by the documentation's ten lines who tells it.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { connect, MODES } from './clients.mjs';
import { configured, eventually, startCluster, startNode } from './harness.mjs';

const [SECRET, OLD] = ['a secret of billing, the new one', 'a secret of billing, the old one'];
const DOCUMENTATION = path.resolve(import.meta.dirname, '../../../docs/hooks.md');

/** The function that the documentation gives to back ends, as it stands there. */
async function documented() {
  const [, code] = (await readFile(DOCUMENTATION, 'utf8')).match(/```js\n(.*?)```/s);
  return import(`data:text/javascript,${encodeURIComponent(code)}`);
}

for (const [kind, start] of Object.entries({ 'one node': startNode, 'three nodes': startCluster })) {
  describe(kind, { timeout: 120_000 }, () => {
    let [cluster, configuration, receiver] = [];
    const requests = [];
    before(async () => {
      receiver = createServer(async (request, response) => {
        const body = Buffer.concat(await request.toArray());
        requests.push({ headers: request.headers, body });
        // The first one is not heard, and so comes again.
        response.writeHead(requests.length === 1 ? 503 : 204).end();
      });
      await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
      const url = `http://127.0.0.1:${receiver.address().port}/gateway`;
      configuration = await configured(`
        [[hook]]
        name = "billing"
        url = "${url}"
        events = ["session.connected", "session.ended", "room.joined", "room.left", "room.emptied", "publish"]
        rooms = "orders-*"
        secrets = ["${SECRET}", "${OLD}"]
      `);
      cluster = await start({ ...configuration.settings, GATEWAY_PRESENCE__LINGER: '200ms', GATEWAY_PRESENCE__LEASE: '1s' });
    });
    after(async () => {
      await cluster?.stop();
      receiver?.close();
      await configuration?.remove();
    });

    /** What was taken, each once. */
    const events = () => {
      const taken = requests.slice(1).flatMap(({ body }) => JSON.parse(body).events);
      return [...new Map(taken.map((event) => [event.id, event])).values()];
    };

    for (const [mode, options] of Object.entries(MODES)) {
      test(`a back end is told of clients over ${mode}`, async () => {
        const room = `orders-${mode}`;
        const [alice, bob] = await Promise.all([connect(cluster.url, options), connect(cluster.url, options)]);
        await alice.emitWithAck('join', { room });
        await bob.emitWithAck('join', { room });
        await bob.emitWithAck('join', { room: `other-${mode}` });
        const { offset } = await alice.emitWithAck('publish', { room, event: 'order', data: { n: 1, raw: Buffer.from([0, 255]) } });
        await alice.emitWithAck('leave', { room });
        bob.close();
        await eventually('the room is empty', () => events().some(({ type, room: name }) => type === 'room.emptied' && name === room));
        const told = events().filter((event) => event.room === room);
        const types = ['room.joined', 'room.joined', 'publish', 'room.left', 'room.left', 'room.emptied'];
        assert.deepEqual(told.map(({ type }) => type), types);
        const published = told[2];
        assert.deepEqual([published.id, published.offset, published.event], [`publish:${offset}`, offset, 'order']);
        assert.deepEqual(published.attachments, [Buffer.from([0, 255]).toString('base64')]);
        assert.equal(published.args[0].data.n, 1);
        assert.deepEqual([told[0].session, told[3].session], [published.session, published.session]);
        assert.deepEqual([told[3].cause, told[5].cause], ['left', 'left']);
        assert.ok(!events().some(({ room: name }) => name?.startsWith('other-')));
        alice.close();
        await eventually('both sessions are over', () => {
          const ended = events().filter(({ type }) => type === 'session.ended').map(({ session }) => session);
          return [told[0].session, told[1].session].every((session) => ended.includes(session));
        });
      });
    }

    test('every request is signed by each secret, and nobody else\'s', async () => {
      const { isGenuine } = await documented();
      assert.ok(requests.length > 1);
      for (const { headers, body } of requests) {
        const signature = headers['x-gateway-signature'];
        assert.equal(headers['x-gateway-hook'], 'billing');
        for (const secret of [SECRET, OLD]) assert.ok(isGenuine(signature, body, secret), signature);
        assert.ok(!isGenuine(signature, body, 'somebody else\'s secret'));
        assert.ok(!isGenuine(signature, Buffer.concat([body, Buffer.from(' ')]), SECRET), 'another body');
        assert.ok(!isGenuine(signature, body, SECRET, Date.now() / 1000 + 600), 'too old');
        assert.ok(!isGenuine(signature.replace(/t=\d+/, 't=1'), body, SECRET, 1), 'another time');
        assert.ok(!isGenuine('t=1', body, SECRET, 1), 'no signature');
      }
    });
  });
}
