// The servers that back ends publish to, and the requests by which each of them takes a publish.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { address, environment, freePort, launch, release, repository } from './servers.mjs';

/** What is said: 100 bytes of JSON. */
const DATA = JSON.stringify({ text: 'x'.repeat(100 - '{"text":""}'.length) });

/** A program with a configuration in a directory of its own, which goes when it ends. */
async function withConfiguration(name, text, start) {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'gateway-bench.'));
  const file = path.join(directory, name);
  await writeFile(file, text);
  const { pid, found, stop } = await start(file);
  return { pid, address: found, stop: () => stop().then(() => rm(directory, { recursive: true })) };
}

async function startGateway(program, redis) {
  const key = ['key', '--name', 'bench', '--scope', 'publish'];
  const { stdout } = await promisify(execFile)(program, key, { env: environment({}) });
  const settings = {
    GATEWAY_LISTEN: '127.0.0.1:0',
    GATEWAY_ADMIN_LISTEN: '127.0.0.1:0',
    GATEWAY_DATA_DIR: '',
    GATEWAY_REDIS_URL: redis?.url ?? '',
    GATEWAY_TELEMETRY__FORMAT: 'json',
    GATEWAY_API__REQUESTS_PER_SECOND: '0',
  };
  const node = await withConfiguration('gateway.toml', stdout, (file) =>
    launch(program, ['--config', file], settings, address));
  const event = `{"event":"tick","data":${DATA},"id":"{n}"}`;
  const url = `http://${node.address}/api/v1`;
  return {
    ...node,
    requests: {
      header: `Authorization: Bearer ${stdout.match(/gw_[\w-]+/)[0]}`,
      single: { url: `${url}/rooms/bench-{room}/events`, item: event },
      batch: {
        url: `${url}/batch`,
        body: '{"items":[{items}]}',
        item: `{"method":"POST","path":"/api/v1/rooms/bench-{room}/events","body":${event}}`,
      },
    },
  };
}

/** It says that it serves before it listens. */
async function accepts(port) {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const socket = net.connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(20);
    } finally {
      socket.destroy();
    }
  }
}

async function startCentrifugo(redis) {
  const [port, key] = [await freePort(), randomBytes(16).toString('hex')];
  const configuration = {
    http_server: { address: '127.0.0.1', port },
    http_api: { key },
    engine: redis ? { type: 'redis', redis: { address: redis.url } } : { type: 'memory' },
    // As much as the gateway keeps of a room, for as long.
    channel: { without_namespace: { history_size: 1_000, history_ttl: '86400s' } },
    usage_stats: { disabled: true },
  };
  const program = path.join(repository, '.tools/bin/centrifugo');
  const node = await withConfiguration('config.json', JSON.stringify(configuration), (file) =>
    launch(program, ['--config', file], {}, (line) => (/serving .*\bapi\b/.test(line) ? `127.0.0.1:${port}` : undefined)));
  await accepts(port);
  const publish = `{"channel":"bench-{room}","data":${DATA},"idempotency_key":"{n}"}`;
  const url = `http://${node.address}/api`;
  return {
    ...node,
    requests: {
      header: `X-API-Key: ${key}`,
      single: { url: `${url}/publish`, item: publish },
      batch: { url: `${url}/batch`, body: '{"commands":[{items}]}', item: `{"publish":${publish}}` },
    },
  };
}

/** Name -> how to start it, with a Redis or without. `before` is another gateway's program. */
export function apiServers(before) {
  const known = {
    gateway: (redis) => startGateway(release('gateway'), redis),
    centrifugo: (redis) => startCentrifugo(redis),
  };
  return before ? { ...known, before: (redis) => startGateway(path.resolve(before), redis) } : known;
}
