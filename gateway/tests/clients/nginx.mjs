// nginx in front of nodes, as people configure it: one process, one virtual server for each way to pass requests on.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { eventually } from './harness.mjs';
import { Proxy } from './proxy.mjs';

/** Lines of nginx's configuration by which it passes requests on. */
export const WAYS = {
  'with upgrade headers': `
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";`,
  // Its defaults: HTTP/1.0 to the node, a connection for each request, no word of an upgrade.
  'without upgrade headers': '',
  'with connections kept alive': `
      proxy_http_version 1.1;
      proxy_set_header Connection "";`,
};

export class Nginx {
  /** The URL of each way. */
  urls = {};
  #process;
  #complaints = '';
  #directory;
  #fronts = [];

  /** `nodes` are URLs; clients of one address stay with one of them. */
  static async start(nodes) {
    const nginx = new Nginx();
    nginx.#directory = await mkdtemp(path.join(os.tmpdir(), 'gateway-nginx.'));
    // It cannot be given port 0, so it listens in its directory, and a proxy of ours on a port of the system's choice.
    const sockets = Object.keys(WAYS).map((_, index) => path.join(nginx.#directory, `${index}.sock`));
    await writeFile(path.join(nginx.#directory, 'nginx.conf'), configuration(nodes, sockets));
    await nginx.#spawn();
    await eventually(`nginx listens (${nginx.#complaints})`, () => sockets.every(existsSync));
    for (const [index, way] of Object.keys(WAYS).entries()) {
      const front = await Proxy.start(`unix:${sockets[index]}`);
      nginx.#fronts.push(front);
      nginx.urls[way] = front.url;
    }
    return nginx;
  }

  async stop() {
    for (const front of this.#fronts) front.stop();
    this.#process.kill('SIGTERM');
    assert.equal(await this.exit, 0, this.#complaints);
    await rm(this.#directory, { recursive: true });
  }

  async #spawn() {
    const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
    const args = ['-p', this.#directory, '-c', 'nginx.conf', '-e', 'stderr'];
    this.#process = spawn('nginx', args, { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process.stderr.on('data', (chunk) => (this.#complaints += chunk));
    this.exit = new Promise((resolve) => {
      this.#process.on('error', resolve);
      this.#process.on('exit', (code, signal) => resolve(code ?? signal));
    });
  }
}

function configuration(nodes, sockets) {
  const upstream = nodes.map((node) => `server ${new URL(node).host} fail_timeout=1s;`).join('\n    ');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${kind};`);
  const servers = Object.values(WAYS).map(
    (lines, index) => `
  server {
    listen unix:${sockets[index]};
    location / {
      proxy_pass http://nodes;
      proxy_set_header Host $host;${lines}
    }
  }`,
  );
  return `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  ${temporary.join('\n  ')}
  upstream nodes {
    ip_hash;
    ${upstream}
    keepalive 16;
  }
${servers.join('\n')}
}
`;
}
