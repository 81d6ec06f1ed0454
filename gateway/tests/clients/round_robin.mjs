// HAProxy in front of nodes as somebody configures it who has not read anything: round robin, no cookie, no table.

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

import { eventually } from './harness.mjs';

export class RoundRobin {
  #process;
  #directory;

  /** `nodes` have `url` and `admin`: those that are not ready get no new requests. */
  static async start(nodes) {
    const proxy = new RoundRobin();
    proxy.#directory = await mkdtemp(path.join(os.tmpdir(), 'gateway-round-robin.'));
    const file = path.join(proxy.#directory, 'haproxy.cfg');
    // Another process may take the port between choosing and using it: then HAProxy ends, and another is tried.
    for (let attempt = 0; ; attempt++) {
      const port = await freePort();
      await writeFile(file, configuration(nodes, port));
      proxy.url = `http://127.0.0.1:${port}`;
      if (await proxy.#listens(file, port)) return proxy;
      if (attempt === 9) throw new Error('haproxy does not start; it has to be installed');
    }
  }

  async stop() {
    this.#process.kill('SIGKILL');
    await rm(this.#directory, { recursive: true });
  }

  async #listens(file, port) {
    const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
    this.#process = spawn('haproxy', ['-db', '-f', file], { env: environment, stdio: 'ignore' });
    const ended = new Promise((resolve) => this.#process.on('exit', () => resolve(false)).on('error', () => resolve(false)));
    return Promise.race([ended, eventually('haproxy listens', () => answers(port))]);
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    const done = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', () => done(true)).on('error', () => done(false));
  });
}

function configuration(nodes, port) {
  const servers = nodes.map(({ name, url, admin }) => {
    const checked = `check port ${new URL(admin).port} inter 200ms fall 1 rise 1`;
    return `  server ${name} ${new URL(url).host} ${checked}`;
  });
  return `defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option abortonclose
  retries 3
  option redispatch
listen clients
  bind 127.0.0.1:${port}
  balance roundrobin
  option httpchk GET /readyz
${servers.join('\n')}
`;
}
