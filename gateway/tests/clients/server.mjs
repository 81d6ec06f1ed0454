// Servers of others that a test file runs for itself, each at ports that nobody else has.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import net from 'node:net';

import { eventually } from './harness.mjs';

/** A port that is free at this moment. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** A server in a folder of its own, which the kernel ends with this process, whatever happens to it. */
export class Server {
  folder;
  ports = [];
  #process;
  #complaints = '';

  constructor(name) {
    this.name = name;
  }

  /** The first of its ports. */
  get port() {
    return this.ports[0];
  }

  /** Runs a command at so many ports. Somebody else may take one in between: then the server ends, and others are tried. */
  async run(command, argumentsAt, options, isReady, count = 1) {
    for (let attempt = 0; attempt < 10; attempt++) {
      this.ports = await Promise.all(Array.from({ length: count }, freePort));
      const leash = ['--pdeathsig', 'KILL', '--', command, ...argumentsAt(...this.ports)];
      this.#process = spawn('setpriv', leash, { stdio: ['ignore', 'ignore', 'pipe'], ...options });
      this.#process.stderr.on('data', (chunk) => (this.#complaints += chunk));
      const ended = once(this.#process, 'exit');
      const ready = eventually(`${this.name} is ready`, () => this.#process.exitCode !== null || isReady(...this.ports), 60_000);
      await Promise.race([ready, ended]);
      if (this.#process.exitCode === null && this.#process.signalCode === null) return;
    }
    assert.fail(`${this.name} does not start: ${this.#complaints}`);
  }

  /** Sends a signal to the process and to those that it made. */
  async signal(name) {
    const children = await readFile(`/proc/${this.#process.pid}/task/${this.#process.pid}/children`, 'utf8');
    process.kill(this.#process.pid, name);
    for (const pid of children.split(' ').filter(Boolean)) {
      try {
        process.kill(Number(pid), name);
      } catch (error) {
        // It has ended meanwhile, as those do that serve one connection.
        if (error.code !== 'ESRCH') throw error;
      }
    }
  }

  async stop() {
    if (this.#process?.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGQUIT');
      await ended;
    }
    if (this.folder) await rm(this.folder, { recursive: true, force: true });
  }
}
