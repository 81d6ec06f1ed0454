// Clients in other languages: each is a small program that takes orders and tells what happens, in lines of JSON.
//
//   program URL polling|websocket|default
//
// Orders are `{emit, body, ack?}`; what it tells is `{connected}`, `{disconnected}`, `{heard, args}` and `{ack, args}`
// with the number that the order gave. Bytes are `{"$bytes": base64}` in both directions. It ends with its standard input.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { eventually } from './harness.mjs';

const tools = path.resolve(import.meta.dirname, '../../../.tools');
const jars = ['classes', 'lib/*'].map((part) => path.join(tools, 'java', part)).join(':');

/** What runs each program, and the file without which it cannot. */
export const LANGUAGES = {
  Java: { command: ['java', '-XX:TieredStopAtLevel=1', '-cp', jars, 'RemoteClient'], needs: 'java/classes/RemoteClient.class' },
  Go: { command: [path.join(tools, 'bin/client-go')], needs: 'bin/client-go' },
  Rust: { command: [path.join(tools, 'bin/client-rust')], needs: 'bin/client-rust' },
};

/** Why a language cannot be tested here, or false. */
export function missing(language) {
  const { needs } = LANGUAGES[language];
  return !existsSync(path.join(tools, needs)) && `there is no .tools/${needs}: .ci/tools makes it and says what it lacks`;
}

/** Bytes as the programs' lines have them, at any depth. */
export function toText(value) {
  if (Buffer.isBuffer(value)) return { $bytes: value.toString('base64') };
  if (Array.isArray(value)) return value.map(toText);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toText(inner)]));
}

function fromText(value) {
  if (Array.isArray(value)) return value.map(fromText);
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$bytes === 'string') return Buffer.from(value.$bytes, 'base64');
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, fromText(inner)]));
}

const running = new Set();

/** Ends every program of this test file; the first that failed fails it. */
export async function endPrograms() {
  await Promise.all([...running].map((program) => program.end()));
}

export class RemoteClient {
  /** `{event, args}`, in the order of hearing. */
  heard = [];
  connects = 0;
  disconnects = [];
  #acks = new Map();
  #asked = 0;
  #complaints = '';

  constructor(language, url, transport) {
    const [program, ...args] = LANGUAGES[language].command;
    this.process = spawn(program, [...args, url, transport], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.process.stdin.on('error', () => {});
    this.process.stderr.on('data', (chunk) => (this.#complaints += chunk));
    this.exit = new Promise((resolve) => {
      this.process.on('error', resolve);
      this.process.on('exit', (code, signal) => resolve(code ?? signal));
    });
    createInterface({ input: this.process.stdout }).on('line', (line) => this.#told(JSON.parse(line)));
    running.add(this);
  }

  emit(event, body) {
    this.#order({ emit: event, body: toText(body) });
  }

  /** The first argument of the acknowledgement. */
  async ask(event, body) {
    const number = ++this.#asked;
    this.#order({ emit: event, body: toText(body), ack: number });
    await eventually(`${event} is acknowledged (${this.#complaints})`, () => this.#acks.has(number));
    return this.#acks.get(number)[0];
  }

  async ok(event, body) {
    const answer = await this.ask(event, body);
    assert.equal(answer?.ok, true, `${event} was refused: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** What was heard in a room, without what the gateway itself tells. */
  inRoom(room) {
    return this.heard.filter(({ event, args }) => !event.startsWith('gateway:') && args[0]?.room === room);
  }

  data(room) {
    return this.inRoom(room).map(({ args }) => args[0].data);
  }

  /** What the gateway said about the session, once for every connection. */
  hellos() {
    return this.heard.filter(({ event }) => event === 'gateway:session').map(({ args }) => args[0]);
  }

  async end() {
    running.delete(this);
    this.process.stdin.end();
    const late = setTimeout(() => this.process.kill('SIGKILL'), 5_000);
    assert.equal(await this.exit, 0, this.#complaints);
    clearTimeout(late);
  }

  #order(order) {
    this.process.stdin.write(`${JSON.stringify(order)}\n`);
  }

  #told(line) {
    if ('connected' in line) this.connects += 1;
    else if ('disconnected' in line) this.disconnects.push(line.disconnected);
    else if ('ack' in line) this.#acks.set(line.ack, fromText(line.args));
    else if ('heard' in line) this.heard.push({ event: line.heard, args: fromText(line.args) });
  }
}
