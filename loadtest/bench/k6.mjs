// Runs every k6 scenario against one node, keeps what they found, and says how far that is from another run. README.md says how to
// read it.

import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { cpuMicroseconds, environment, launch, release, repository } from './servers.mjs';

const { values: options } = parseArgs({
  options: {
    results: { type: 'string', default: path.join(repository, 'target/bench-k6') },
    before: { type: 'string', default: '' },
    scenarios: { type: 'string', default: '' },
  },
});

// As long as it takes to see what each asks for, and not longer.
const SCENARIOS = {
  smoke: {},
  load: { CLIENTS: 1000, RATE: 100, RAMP_SECONDS: 5, HOLD_SECONDS: 10 },
  stress: { RAMP_SECONDS: 3, HOLD_SECONDS: 5, STEP_SECONDS: 5, REST_SECONDS: 3 },
  spike: { RAMP_SECONDS: 3, HOLD_SECONDS: 5, TIMES: 10, PEAK_SECONDS: 5 },
  reconnect: { CLIENTS: 500, RAMP_SECONDS: 4, STORMS: 2, STORM_SECONDS: 6 },
  polling: { RAMP_SECONDS: 3, HOLD_SECONDS: 10 },
  breakpoint: { CLIENTS: 500, RAMP_SECONDS: 4, RATE: 200, MAX_RATE: 1000, STEP_SECONDS: 5 },
  presence: {},
  limits: { HOLD_SECONDS: 15, LIMIT_HANDSHAKES: 0 },
  soak: { RAMP_SECONDS: 3, HOLD_SECONDS: 28, LOOK_SECONDS: 0.5 },
};
/** What two runs are compared by: how much was done, how long it took, and what it cost. */
const FIGURES = {
  deliveries: ({ rooms_delivered: it }) => it?.count,
  'delivery p50, ms': ({ rooms_fanout_duration: it }) => it?.med,
  'delivery p99, ms': ({ rooms_fanout_duration: it }) => it?.['p(99)'],
  'ack p50, ms': ({ rooms_publish_duration: it }) => it?.med,
  'comebacks p50, s': ({ sio_reconnect_duration: it }) => it && it.med / 1000,
  'k6 late p99, ms': ({ generator_lag: it }) => it?.['p(99)'],
  'node CPU, s': ({ node_cpu_seconds: it }) => it?.value,
};

/** The addresses of a node in memory, in the line that says that it is ready. */
function addresses(line) {
  try {
    const { fields } = JSON.parse(line);
    return fields?.message === 'ready' ? { url: `http://${fields.address}`, admin: `http://${fields.admin}` } : undefined;
  } catch {
    return undefined;
  }
}

/** One scenario against a fresh node; what it found, whether its thresholds held or not. */
async function run(name) {
  const settings = {
    GATEWAY_LISTEN: '127.0.0.1:0',
    GATEWAY_ADMIN_LISTEN: '127.0.0.1:0',
    GATEWAY_DATA_DIR: '',
    GATEWAY_TELEMETRY__FORMAT: 'json',
    // All clients have one address. What else is limited is part of what is asked.
    GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
    GATEWAY_LIMITS__ADDRESS_KEPT_BYTES_PER_SECOND: '0',
  };
  const node = await launch(release('gateway'), [], settings, addresses);
  try {
    const own = { ...SCENARIOS[name], URL: node.found.url, ADMIN_URL: node.found.admin, RESULTS: options.results };
    const given = Object.entries(own).flatMap(([key, value]) => ['-e', `${key}=${value}`]);
    const args = ['run', '--quiet', ...given, path.join(repository, 'loadtest/k6', `${name}.js`)];
    const before = await cpuMicroseconds([node.pid]);
    const k6 = spawn(path.join(repository, '.tools/bin/k6'), args, {
      env: environment({ K6_NO_USAGE_REPORT: 'true' }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [k6.stdout, k6.stderr]) stream.on('data', (data) => (said += data));
    const code = await new Promise((resolve) => k6.on('close', resolve));
    // 99: a threshold did not hold, which the report says.
    if (code !== 0 && code !== 99) throw new Error(`${name} ended with ${code}: ${said}`);
    const file = path.join(options.results, `${name}.json`);
    const report = JSON.parse(await readFile(file, 'utf8'));
    report.metrics.node_cpu_seconds = { value: (await cpuMicroseconds([node.pid])) / 1e6 - before / 1e6 };
    await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
    return report;
  } finally {
    await node.stop();
  }
}

/** Three digits, and all of those before the point. */
function shown(value) {
  return value === undefined ? '–' : String(Number(value.toPrecision(Math.max(3, String(Math.floor(value)).length))));
}

/** A row: each figure, and by how many per cent it moved. */
function row(report, before) {
  const cells = Object.values(FIGURES).map((of) => {
    const [now, then] = [of(report.metrics), before && of(before.metrics)];
    if (now === undefined || !then) return shown(now);
    const percent = Math.round((now / then - 1) * 100);
    return `${shown(then)} → ${shown(now)} (${percent > 0 ? '+' : ''}${percent} %)`;
  });
  const kept = report.thresholds.filter(({ ok }) => ok).length;
  return `| \`${report.scenario}\` | ${kept} of ${report.thresholds.length} | ${cells.join(' | ')} |`;
}

const chosen = options.scenarios ? options.scenarios.split(' ') : Object.keys(SCENARIOS);
for (const name of chosen) {
  if (!(name in SCENARIOS)) throw new Error(`there is no scenario ${name}; there are: ${Object.keys(SCENARIOS).join(', ')}`);
}
await mkdir(options.results, { recursive: true });
console.log(`| scenario | thresholds held | ${Object.keys(FIGURES).join(' | ')} |`);
console.log(`|---|---|${'---|'.repeat(Object.keys(FIGURES).length)}`);
let failed = 0;
for (const name of chosen) {
  const report = await run(name);
  const before = options.before && JSON.parse(await readFile(path.join(options.before, `${name}.json`), 'utf8'));
  console.log(row(report, before));
  for (const finding of report.findings) console.error(`  ${name}: ${finding}`);
  if (!report.passed) failed += 1;
}
process.exitCode = failed > 0 ? 1 : 0;
