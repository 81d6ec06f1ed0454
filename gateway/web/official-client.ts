// Copies the official client's bundles to where the gateway embeds them from, to be served as Socket.IO's own server does.

import { cp, mkdir } from 'node:fs/promises';
import path from 'node:path';

import type { Plugin } from 'vite';

const PACKAGE = path.join(import.meta.dirname, 'node_modules/socket.io-client');

const BUNDLES = ['socket.io', 'socket.io.min', 'socket.io.esm.min', 'socket.io.msgpack.min'];

/** With `package.json`, which has the version. */
export function officialClient(folder: string): Plugin {
  return {
    name: 'official-client',
    apply: 'build',
    async closeBundle() {
      const to = path.join(import.meta.dirname, folder);
      await mkdir(to, { recursive: true });
      const files = BUNDLES.flatMap((bundle) => [`dist/${bundle}.js`, `dist/${bundle}.js.map`]);
      await Promise.all([...files, 'package.json'].map((file) => cp(path.join(PACKAGE, file), path.join(to, path.basename(file)))));
    },
  };
}
