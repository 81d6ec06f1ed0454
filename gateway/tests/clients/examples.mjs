// The example back ends as processes, and what stands between them and the gateway to lose what is on its way.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { eventually, request } from './harness.mjs';
import { freePort } from './server.mjs';

const repository = path.resolve(import.meta.dirname, '../../..');
const tools = path.join(repository, '.tools');
const jars = ['classes', 'lib/*'].map((part) => path.join(tools, 'example-java', part)).join(':');
const uvicorn = ['-m', 'uvicorn', 'app:app', '--host', '127.0.0.1', '--log-level', 'warning', '--port'];

/** What runs each example on a port, and the file without which it cannot. */
export const EXAMPLES = {
  Python: {
    folder: 'python',
    command: (port) => [path.join(tools, 'example-python/bin/python'), ...uvicorn, port],
    needs: '.tools/example-python/bin/uvicorn',
  },
  Node: { folder: 'node', command: () => [process.execPath, 'app.mjs'], needs: 'examples/node/node_modules/express' },
  Go: { folder: 'go', command: () => [path.join(tools, 'bin/example-go')], needs: '.tools/bin/example-go' },
  Java: {
    folder: 'java',
    command: () => ['java', '-XX:TieredStopAtLevel=1', '-cp', jars, 'Shop'],
    needs: '.tools/example-java/classes/Shop.class',
  },
};

/** Why an example cannot be tested here, or false. */
export function missing(language) {
  const { needs } = EXAMPLES[language];
  return !existsSync(path.join(repository, needs)) && `there is no ${needs}: .ci/tools makes it and says what it lacks`;
}

export class Example {
  #process;
  #complaints = '';
  #exit;

  /** Starts it and waits until it answers; `settings` are its variables. */
  static async start(language, settings) {
    const example = new Example();
    const port = String(await freePort());
    example.url = `http://127.0.0.1:${port}`;
    const { folder, command } = EXAMPLES[language];
    const [program, ...args] = command(port);
    const env = { ...process.env, ...settings, PORT: port };
    const cwd = path.join(repository, 'examples', folder);
    example.#process = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of ['stdout', 'stderr']) {
      example.#process[stream].on('data', (chunk) => (example.#complaints += chunk));
    }
    example.#exit = once(example.#process, 'exit');
    await eventually('the example answers', () => {
      assert.equal(example.#process.exitCode, null, example.#complaints);
      return request(`${example.url}/orders/7`);
    }, 60_000);
    return example;
  }

  /** Asks it something. The status, and what the body says. */
  async ask(method, where, { token, body } = {}) {
    const json = 'application/json';
    const headers = { Accept: json, 'Content-Type': json, ...(token && { Authorization: `Bearer ${token}` }) };
    const answer = await request(`${this.url}${where}`, { method, headers, body: body && JSON.stringify(body) });
    return { status: answer.status, body: answer.body && JSON.parse(answer.body) };
  }

  /** The token that somebody gets who logs in. */
  async login(user, password) {
    const { status, body } = await this.ask('POST', '/login', { body: { user, password } });
    assert.equal(status, 200, this.#complaints);
    return body.token;
  }

  async stop() {
    this.#process.kill('SIGKILL');
    await this.#exit;
  }
}

/** Passes requests on, until it is told to do something else with one of them. */
export class Front {
  /** The bodies of all requests that came. */
  seen = [];
  /** What happens to the next requests: `lose` their answers, or a status to answer them with. */
  plans = [];
  /** Where to; may be set later. */
  target;
  #server = http.createServer((incoming, outgoing) => this.#pass(incoming, outgoing));

  static async start(target) {
    const front = new Front();
    front.target = target;
    front.#server.listen(0, '127.0.0.1');
    await once(front.#server, 'listening');
    front.url = `http://127.0.0.1:${front.#server.address().port}`;
    return front;
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #pass(incoming, outgoing) {
    try {
      const body = Buffer.concat(await incoming.toArray());
      this.seen.push(body.toString());
      const plan = this.plans.shift();
      if (typeof plan === 'number') return void outgoing.writeHead(plan).end('{}');
      if (!this.target) return void outgoing.writeHead(503).end();
      const { method, headers } = incoming;
      const answer = await request(`${this.target}${incoming.url}`, { method, headers, body });
      if (plan === 'lose') return void incoming.socket.destroy();
      outgoing.writeHead(answer.status, { 'Content-Type': answer.headers['content-type'] ?? 'text/plain' }).end(answer.body);
    } catch {
      incoming.socket.destroy();
    }
  }
}
