// Prometheus, as the pictures and the tests of the dashboards have it: it scrapes what it is told to, with our rules, or serves what it has.

import { mkdtemp, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { Server } from '../../gateway/tests/clients/server.mjs';

const rules = path.resolve(import.meta.dirname, '../rules');

export class Prometheus extends Server {
  /**
   * `data` is where it keeps what it has seen; without targets it only serves that. Nodes are their addresses, or a file that lists
   * those of the moment. How often it looks is as deploy/compose has it.
   */
  static async start(data, nodes = [], redis = [], { rulesFrom = rules, every = '5s' } = {}) {
    const prometheus = new Prometheus('Prometheus');
    const jobs = Object.entries({ gateway: nodes, 'gateway-redis': redis }).filter(([, targets]) => targets.length > 0);
    const where = (targets) =>
      Array.isArray(targets) ? { static_configs: [{ targets }] } : { file_sd_configs: [{ files: [targets], refresh_interval: '1s' }] };
    const scrapes = jobs.map(([name, targets]) => ({ job_name: name, ...where(targets) }));
    const configuration = {
      global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
      rule_files: nodes.length > 0 ? [path.join(rulesFrom, '*.rules.yml')] : [],
      scrape_configs: scrapes,
    };
    prometheus.folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-prometheus.'));
    const file = path.join(prometheus.folder, 'prometheus.yml');
    // JSON is YAML.
    await writeFile(file, JSON.stringify(configuration));
    const at = (port) => [
      `--config.file=${file}`,
      `--storage.tsdb.path=${data}`,
      '--storage.tsdb.retention.time=10y',
      `--web.listen-address=127.0.0.1:${port}`,
      '--web.enable-remote-write-receiver',
      '--log.level=error',
    ];
    const isReady = async (port) => (await fetch(`http://127.0.0.1:${port}/-/ready`).catch(() => null))?.ok;
    await prometheus.run('prometheus', at, {}, isReady);
    return prometheus;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The answer to a query over a span of time, in seconds. */
  async range(query, from, to, step) {
    return this.#ask('query_range', { query, start: from, end: to, step });
  }

  /** The answer to a query at a moment. */
  async instant(query, time) {
    return this.#ask('query', { query, time });
  }

  async #ask(what, parameters) {
    const answer = await (await fetch(`${this.url}/api/v1/${what}`, { method: 'POST', body: new URLSearchParams(parameters) })).json();
    if (answer.status !== 'success') throw new Error(`${parameters.query}: ${answer.error}`);
    return answer.data.result;
  }
}
