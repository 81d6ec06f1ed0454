// Measures what passing on costs: the same client at the node that has its connection, and at another one. README.md says how to
// read it.

import http from 'node:http';
import { parseArgs } from 'node:util';

import { median } from './numbers.mjs';
import { cpuMicroseconds, servers, startRedis } from './servers.mjs';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    runs: { type: 'string', default: '3' },
    clients: { type: 'string', default: '16' },
    gateway: { type: 'string', default: '' },
  },
});
/** What each client asks in a second while nobody is in a hurry. */
const RATE = 20;

const start = options.gateway ? servers(options.gateway).before : servers().gateway;

/** A client that polls: its handshake went to `home`, and all that follows goes to `url`. */
class Poller {
  #agent = new http.Agent({ keepAlive: true });
  #number = 0;

  static async open(home, url) {
    const poller = new Poller();
    poller.base = home;
    const opened = await poller.#request('GET', '');
    poller.id = JSON.parse(opened.slice(1)).sid;
    await poller.#request('POST', '40');
    await poller.#until(/^40/m);
    poller.base = url;
    // Connections are made, and names resolved.
    await poller.ask();
    return poller;
  }

  /** One message and the poll that brings what is said to it. */
  async ask() {
    const number = this.#number++;
    const waits = this.#until(new RegExp(`(^|\u001e)43${number}\\[`));
    await this.#request('POST', `42${number}["nothing",{}]`);
    await waits;
  }

  close() {
    this.#agent.destroy();
  }

  async #until(pattern) {
    for (;;) {
      const body = await this.#request('GET', '');
      if (/(^|\u001e)2($|\u001e)/.test(body)) await this.#request('POST', '3');
      if (pattern.test(body)) return;
    }
  }

  #request(method, body) {
    const id = this.id ? `&sid=${this.id}` : '';
    return new Promise((resolve, reject) => {
      const url = `${this.base}/socket.io/?EIO=4&transport=polling${id}`;
      const outgoing = http.request(url, { method, agent: this.#agent, headers: body && { 'content-type': 'text/plain' } });
      outgoing.on('error', reject).on('response', async (response) => {
        const answer = Buffer.concat(await response.toArray()).toString();
        if (response.statusCode === 200) resolve(answer);
        else reject(new Error(`${method}: ${response.statusCode} ${answer}`));
      });
      outgoing.end(body);
    });
  }
}

function quantile(sorted, of) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * of))];
}

async function measured(isPassed) {
  const stops = [];
  try {
    const redis = await startRedis();
    stops.push(redis.stop);
    const settings = { GATEWAY_LIMITS__REFUSALS_PER_SECOND: '0', GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS: '0' };
    const server = await start({ nodes: 2, redis, settings });
    stops.push(server.stop);
    const [home, other] = server.urls;
    const clients = [];
    for (let number = 0; number < Number(options.clients); number++) {
      clients.push(await Poller.open(home, isPassed ? other : home));
    }
    stops.push(() => clients.forEach((client) => client.close()));
    const times = [];
    const until = performance.now() + Number(options.seconds) * 1_000;
    const cpu = await cpuMicroseconds(server.pids);
    const one = async (client) => {
      let due = performance.now() + (Math.random() * 1_000) / RATE;
      while (due < until) {
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
        const began = performance.now();
        await client.ask();
        times.push(performance.now() - began);
        due = Math.max(due + 1_000 / RATE, performance.now());
      }
    };
    await Promise.all(clients.map(one));
    const spent = (await cpuMicroseconds(server.pids)) - cpu;
    times.sort((a, b) => a - b);
    return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), cpu: spent / times.length, asked: times.length };
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

const KINDS = { 'at its node': false, 'at another node': true };
const runs = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, []]));
for (let run = 0; run < Number(options.runs); run++) {
  for (const [kind, isPassed] of Object.entries(KINDS)) {
    runs[kind].push(await measured(isPassed));
    console.error(`${kind}: ${JSON.stringify(runs[kind].at(-1))}`);
  }
}
const table = Object.entries(runs).map(([kind, all]) => {
  const middle = (name) => median(all.map((run) => run[name]));
  return { kind, p50: middle('p50'), p99: middle('p99'), cpu: middle('cpu') };
});
console.log('| a message and its answer by a poll | p50 | p99 | CPU of both nodes |\n|---|---|---|---|');
for (const { kind, p50, p99, cpu } of table) {
  console.log(`| ${kind} | ${p50.toFixed(2)} ms | ${p99.toFixed(2)} ms | ${cpu.toFixed(0)} µs |`);
}
console.log(JSON.stringify(table));
