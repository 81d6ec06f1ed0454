// Front ends that were written for other servers: built as their authors do, and served as teams serve them.

import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import react from '../../web/node_modules/@vitejs/plugin-react/dist/index.js';
import { build } from '../../web/node_modules/vite/dist/node/index.js';
import { Server } from '../clients/server.mjs';

const sources = path.join(import.meta.dirname, 'front_ends');
const tests = path.dirname(import.meta.dirname);
/** What they depend on, and who has it installed. */
const DEPENDENCIES = {
  react: '../web',
  'react-dom': '../web',
  'socket.io-client': 'clients',
  axios: 'clients',
};
/** Those that are one page which is served as it is; the others are apps that are built. */
const PLAIN = ['broadcast', 'lobby'];

/**
 * A front end behind nginx, at an origin of its own. A plain one has the gateway behind the same nginx; an app knows the
 * gateway's address from its environment, so to the gateway it is a page of another origin.
 */
export class Site extends Server {
  static async start(dialect, gateway) {
    const site = new Site('nginx');
    site.folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-front-end.'));
    await mkdir(path.join(site.folder, 'served'));
    if (PLAIN.includes(dialect)) await cp(path.join(sources, dialect), path.join(site.folder, 'served'), { recursive: true });
    else await buildApp(dialect, gateway, site.folder);
    const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
    const file = path.join(site.folder, 'nginx.conf');
    const isReady = async (port) => (await fetch(`http://127.0.0.1:${port}/`).catch(() => null))?.ok;
    // It reads its port from the configuration, and there is one for each port that is tried.
    const argumentsAt = (port) => [
      ...['-c', `set -e; cat >"$1" <<<"$2"; exec nginx -p "$3" -c "$1" -e stderr`, 'bash'],
      ...[file, configuration(port, gateway), site.folder],
    ];
    await site.run('bash', argumentsAt, { env: environment }, isReady);
    return site;
  }

  /** Where people open it. */
  get url() {
    return `http://localhost:${this.port}`;
  }

  /** The same page, at an address that nobody was told of. */
  get otherUrl() {
    return `http://127.0.0.1:${this.port}`;
  }
}

/** As `npm install` and `npm run build` do it, with a `.env` file, and with React's own checks as on a developer's machine. */
async function buildApp(dialect, gateway, folder) {
  const root = path.join(folder, 'app');
  await cp(path.join(sources, dialect), root, { recursive: true });
  await writeFile(path.join(root, '.env'), `VITE_SERVER_URL=${gateway}\n`);
  await mkdir(path.join(root, 'node_modules'));
  for (const [name, owner] of Object.entries(DEPENDENCIES)) {
    await symlink(path.join(tests, owner, 'node_modules', name), path.join(root, 'node_modules', name));
  }
  process.env.NODE_ENV = 'development';
  await build({
    root,
    mode: 'development',
    configFile: false,
    logLevel: 'warn',
    plugins: [react()],
    build: { outDir: path.join(folder, 'served'), emptyOutDir: true, minify: false, reportCompressedSize: false },
  });
}

function configuration(port, gateway) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${kind};`);
  return `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  ${temporary.join('\n  ')}
  types { text/html html; text/javascript js; text/css css; }
  server {
    listen 127.0.0.1:${port};
    root served;
    location /socket.io/ {
      proxy_pass ${gateway};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header X-Forwarded-For $remote_addr;
    }
  }
}
`;
}
