// A PostgreSQL of its own, that can be killed or stand still.

import { execFile, execFileSync } from 'node:child_process';
import { chown, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { freePort, launch } from './servers.mjs';

const VERSIONS = '/usr/lib/postgresql';

/** Debian has servers of each version in a folder of its own, which is in nobody's path. */
async function program(name) {
  const versions = (await readdir(VERSIONS).catch(() => [])).toSorted((a, b) => Number(b) - Number(a));
  return versions.length ? path.join(VERSIONS, versions[0], 'bin', name) : name;
}

/** PostgreSQL never runs as root, so root lends it the user that its package makes. */
async function lent() {
  if (process.getuid() !== 0) return {};
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const [, , uid, gid] = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody');
  return { uid: Number(uid), gid: Number(gid) };
}

/** It syncs nothing: what a disk does is not measured. */
export async function startPostgres() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-bench.'));
  const user = await lent();
  if (user.uid) await chown(folder, user.uid, user.gid);
  const data = path.join(folder, 'data');
  const made = ['-D', data, '--username=gateway', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
  await promisify(execFile)(await program('initdb'), made, { ...user, cwd: '/' });
  const port = String(await freePort());
  const args = ['-D', data, '-p', port, '-h', '127.0.0.1', '-k', '', '-c', 'fsync=off'];
  const isReady = (line) => (/ready to accept connections/.test(line) ? true : undefined);
  const { pid, stop } = await launch(await program('postgres'), args, {}, isReady, { ...user, cwd: '/' });
  const children = () => {
    try {
      return execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' }).trim().split(/\s+/).map(Number);
    } catch {
      // It has none.
      return [];
    }
  };
  const signal = (name, one) => {
    try {
      process.kill(one, name);
    } catch {
      // It has ended by itself meanwhile.
    }
  };
  const freeze = () => {
    // The server first: while it stands still it has no new children.
    signal('SIGSTOP', pid);
    for (const child of children()) signal('SIGSTOP', child);
  };
  const kill = () => {
    freeze();
    for (const one of [...children(), pid]) signal('SIGKILL', one);
  };
  return {
    url: `postgres://gateway@127.0.0.1:${port}/postgres`,
    freeze,
    kill,
    stop: async () => {
      kill();
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
