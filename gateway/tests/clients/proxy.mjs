// A TCP proxy between clients and a server: the network that fails when a test wants it to.

import { once } from 'node:events';
import net from 'node:net';

export class Proxy {
  /** Where clients connect. */
  url;
  /** Where new connections lead, as a URL; `unix:` and a path is a socket of the file system. */
  target;
  /** While true, whoever connects is refused. */
  refusing = false;
  #server;
  #connections = new Set();

  static async start(target) {
    const proxy = new Proxy();
    proxy.target = target;
    proxy.#server = net.createServer({ noDelay: true }, (socket) => proxy.#accept(socket));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  /** Resets every connection, at both ends and without a word. */
  cut() {
    for (const socket of this.#connections) socket.resetAndDestroy();
  }

  stop() {
    this.#server.close();
    this.cut();
  }

  #accept(client) {
    client.on('error', () => {});
    // Accepted and reset: giving the port back meanwhile would let another process take it.
    if (this.refusing) return client.resetAndDestroy();
    const { protocol, hostname, port, pathname } = new URL(this.target);
    const place = protocol === 'unix:' ? { path: pathname } : { host: hostname, port };
    const server = net.connect({ ...place, noDelay: true });
    server.on('error', () => {});
    for (const [from, to] of [[client, server], [server, client]]) {
      this.#connections.add(from);
      from.pipe(to);
      from.on('close', () => {
        this.#connections.delete(from);
        to.destroy();
      });
    }
  }
}
