// Private databases for a test file: PostgreSQL as Debian has it, and FerretDB, which speaks MongoDB's protocol.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, readdir, readFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { Server } from './server.mjs';

const run = promisify(execFile);
const ferretdb = path.resolve(import.meta.dirname, '../../../.tools/bin/ferretdb');

async function answers(port) {
  const socket = net.connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } finally {
    socket.destroy();
  }
}

/** Debian has servers of each version in a folder of its own, which is in nobody's path. */
async function postgresPrograms() {
  const versions = await readdir('/usr/lib/postgresql').catch(() => []);
  const newest = versions.sort((a, b) => Number(a) - Number(b)).at(-1);
  assert.ok(newest, 'PostgreSQL is not installed: make tools');
  return path.join('/usr/lib/postgresql', newest, 'bin');
}

/** PostgreSQL never runs as root, so root lends it the user that its package makes. It asks for the folder that it is in. */
async function lent() {
  if (process.getuid() !== 0) return { cwd: '/' };
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const [, , uid, gid] = users.find(([name]) => name === 'postgres');
  return { cwd: '/', uid: Number(uid), gid: Number(gid) };
}

export class Postgres extends Server {
  #programs;

  static async start() {
    const server = new Postgres('PostgreSQL');
    server.#programs = await postgresPrograms();
    const as = await lent();
    server.folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-postgres.'));
    if (as.uid) await chown(server.folder, as.uid, as.gid);
    const data = path.join(server.folder, 'data');
    const how = ['--username=gateway', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
    await run(path.join(server.#programs, 'initdb'), ['-D', data, ...how], as);
    const at = (port) => ['-D', data, '-p', `${port}`, '-h', '127.0.0.1', '-k', '', '-c', 'fsync=off'];
    const isReady = (port) => run(path.join(server.#programs, 'pg_isready'), ['-q', '-h', '127.0.0.1', '-p', `${port}`]);
    await server.run(path.join(server.#programs, 'postgres'), at, as, isReady);
    return server;
  }

  /** The URL of a new database. */
  async create(name) {
    const at = ['-h', '127.0.0.1', '-p', `${this.port}`, '-U', 'gateway'];
    await run(path.join(this.#programs, 'createdb'), [...at, name]);
    return `postgres://gateway@127.0.0.1:${this.port}/${name}`;
  }
}

export class FerretDb extends Server {
  static async start() {
    const server = new FerretDb('FerretDB');
    server.folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-ferretdb.'));
    await server.run(ferretdb, (port) => [`127.0.0.1:${port}`, server.folder], {}, answers);
    return server;
  }

  /** The URL of a new database. */
  async create(name) {
    return `mongodb://127.0.0.1:${this.port}/${name}`;
  }
}

/** Each kind once for the whole file, when it is first wanted. */
const running = new Map();

/** The settings of a new database of a kind. */
export async function newDatabase(kind, name) {
  if (!running.has(kind)) running.set(kind, kind.start());
  const server = await running.get(kind);
  return { GATEWAY_DATABASE__URL: await server.create(name), GATEWAY_DATABASE__TIMEOUT: '30s' };
}

/** Ends what was started. */
export async function stopDatabases() {
  for (const starting of running.values()) await (await starting).stop();
  running.clear();
}
