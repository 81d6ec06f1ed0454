// Back ends that emit through Redis with the libraries that they have: for Node in this process, and for other languages small
// programs that take orders in lines of JSON and answer each with a line when it is written.
//
// Orders are `{emit, args, to?, except?}`, `{to, join}`, `{to, leave}` and `{disconnect}`, where `to` is a room or a socket.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { Emitter } from '@socket.io/redis-emitter';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

import { toText } from './remote.mjs';

const tools = path.resolve(import.meta.dirname, '../../../.tools');
const PROGRAMS = {
  Python: { command: [path.join(tools, 'venv/bin/python'), path.join(import.meta.dirname, 'emit.py')], needs: 'venv/bin/python' },
  Go: { command: [path.join(tools, 'bin/emitter-go')], needs: 'bin/emitter-go' },
};

/** Why a language cannot be tested here, or false. */
export function missing(language) {
  const needs = PROGRAMS[language]?.needs;
  return needs !== undefined && !existsSync(path.join(tools, needs)) && `there is no .tools/${needs}: .ci/tools makes it`;
}

/** The emitter of a language. */
export async function emitter(language, url) {
  if (language !== 'Node') return new Program(language, url);
  const redis = createClient({ url });
  await redis.connect();
  return new NodeEmitter(redis);
}

/** `@socket.io/redis-emitter`. */
class NodeEmitter {
  #redis;
  io;

  constructor(redis) {
    this.#redis = redis;
    this.io = new Emitter(redis);
  }

  async do({ emit, args, to, except, join, leave, disconnect }) {
    if (disconnect) this.io.in(disconnect).disconnectSockets();
    else if (join) this.io.in(to).socketsJoin(join);
    else if (leave) this.io.in(to).socketsLeave(leave);
    else (to ? this.io.to(to) : this.io).except(except ?? []).emit(emit, ...args);
    // Behind what was written.
    await this.#redis.ping();
  }

  async end() {
    await this.#redis.close();
  }
}

class Program {
  #process;
  #answers;
  #complaints = '';

  constructor(language, url) {
    const [program, ...args] = PROGRAMS[language].command;
    this.#process = spawn(program, [...args, url], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#process.stderr.on('data', (chunk) => (this.#complaints += chunk));
    this.#answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  async do(order) {
    this.#process.stdin.write(`${JSON.stringify(toText(order))}\n`);
    const { done } = await this.#answers.next();
    assert.ok(!done, this.#complaints);
  }

  async end() {
    this.#process.stdin.end();
    for (;;) if ((await this.#answers.next()).done) return;
  }
}

/**
 * A server of Socket.IO without clients that emits through the stream. `@socket.io/redis-streams-emitter` adds the same
 * entries.
 */
export async function streamsServer(url) {
  const redis = createClient({ url });
  // Its readers end a while later, when Redis is gone already.
  redis.on('error', () => {});
  await redis.connect();
  const io = new Server({ adapter: createAdapter(redis) });
  return {
    io,
    /** Waits until everything is in the stream. */
    flush: () => redis.ping(),
    end: async () => {
      io.of('/').adapter.close();
      await redis.close();
    },
  };
}
