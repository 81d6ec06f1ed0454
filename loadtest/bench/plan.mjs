// Measures three loads, and four others to know the machine by, and compares them with what `gateway plan` says. README.md
// says how to read it.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';

import { median } from './numbers.mjs';
import { PROFILE, environment, release, servers, startRedis, swarm } from './servers.mjs';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    runs: { type: 'string', default: '2' },
    load: { type: 'string', default: '1' },
    within: { type: 'string', default: '20' },
    measured: { type: 'string', default: '' },
  },
});
const [seconds, runs, load, within] = ['seconds', 'runs', 'load', 'within'].map((name) => Number(options[name]));
if (![seconds, runs, load, within].every((number) => number > 0)) {
  console.error('--seconds, --runs, --load and --within are numbers above 0');
  process.exit(2);
}

/** A slow build takes fewer at once, and fewer that do nothing show the same. */
const part = Math.min(1, load);
const CONNECT_RATE = Math.max(50, Math.round(1_500 * part));
const BYTES = 100;
/** Of the deliveries that are due, swarm has to have made so many; otherwise another load was measured. */
const MADE = 0.95;

/** A load. What is measured to know the machine by has other rooms, rates and numbers than what is compared. */
const rooms = (title, nodes, log, connections, members, rate) => ({
  title, nodes, log, connections, members_per_room: members, rooms: connections / members,
  rate: Math.max(1, Math.round(rate * load)),
});
const idle = (wanted) => {
  const connections = Math.max(500, Math.round(wanted * part));
  const title = `${connections.toLocaleString('en')} idle`;
  return { title, nodes: 1, log: 'memory', connections, members_per_room: 0, rooms: 0, rate: 0 };
};
const KNOWN_BY = [
  rooms('2,000 in rooms of 40, one node in memory', 1, 'memory', 2_000, 40, 300),
  // At two rates: how much less a publish costs Redis the more there are is the machine's.
  rooms('1,800 in rooms of 30, three nodes and Redis', 3, 'redis', 1_800, 30, 300),
  rooms('2,700 in rooms of 18, three nodes and Redis', 3, 'redis', 2_700, 18, 600),
  idle(3_000),
];
const POINTS = [
  rooms('5,000 in rooms of 100, one node in memory', 1, 'memory', 5_000, 100, 200),
  rooms('4,995 in rooms of 9, three nodes and Redis', 3, 'redis', 4_995, 9, 1_000),
  idle(10_000),
];

const start = servers('').gateway;
const failures = [];

/** What one run of a load takes. */
async function measure(shape) {
  const redis = shape.log === 'redis' ? await startRedis() : undefined;
  try {
    const server = await start({ nodes: shape.nodes, redis });
    try {
      if (!shape.rate) {
        const report = await swarm('idle', server, {
          connections: shape.connections, hold: '3s', 'connect-rate': CONNECT_RATE,
        });
        return { values: { kib_per_connection: report.memory.kibPerConnection }, failures: report.failures };
      }
      const report = await swarm('rooms', server, {
        connections: shape.connections, 'room-size': shape.members_per_room, rate: shape.rate, bytes: BYTES, seconds,
        'connect-rate': CONNECT_RATE, warmup: '3s', ...(redis && { 'redis-pid': redis.pid }),
      });
      const made = report.deliveriesPerSecond / (shape.rate * shape.members_per_room);
      const late = made < MADE ? [`only ${Math.round(made * 100)} % of the load was there: use a smaller LOAD`] : [];
      return {
        values: { node_cores: report.serverCpu.cores, ...(redis && { redis_cores: report.redisCpu.cores }) },
        failures: [...report.failures, ...late],
      };
    } finally {
      await server.stop();
    }
  } finally {
    await redis?.stop();
  }
}

/** By turns, so that what the machine does otherwise hits all alike. */
async function measureAll(shapes) {
  const found = new Map(shapes.map((shape) => [shape, []]));
  for (let run = 1; run <= runs; run++) {
    for (const shape of shapes) {
      const label = `${shape.title}, run ${run} of ${runs}`;
      const { values, failures: broken } = await measure(shape);
      console.error(`${label}: ${JSON.stringify(values)} ${broken}`);
      failures.push(...broken.map((failure) => `${label}: ${failure}`));
      found.get(shape).push(values);
    }
  }
  const middle = (values) => Object.fromEntries(
    Object.keys(values[0]).map((name) => [name, median(values.map((value) => value[name]))]),
  );
  return shapes.map((shape) => ({ ...shape, bytes: BYTES, measured: middle(found.get(shape)) }));
}

/** What the planner says of a load, on a machine that is known by a file, or on the one in its table. */
async function planned(point, file) {
  const args = [
    'plan', '--json', '--connections', point.connections, '--rooms', point.rooms, '--rate', point.rate, '--bytes', BYTES,
    '--log', point.log, '--nodes', point.nodes, ...(point.members_per_room ? ['--members-per-room', point.members_per_room] : []),
    ...(file ? ['--measured', file] : []),
  ];
  // 1 is a load that does not fit, which is a plan, too.
  const run = promisify(execFile)(release('gateway'), args.map(String), { env: environment({}), maxBuffer: 1 << 24 });
  const { stdout } = await run.catch((error) => {
    if (error.code === 1 && error.stdout) return error;
    throw error;
  });
  const { nodes, redis } = JSON.parse(stdout).plan;
  return { node_cores: nodes.cores, redis_cores: redis?.core_share, kib_per_connection: nodes.kib_per_connection };
}

const NAMES = {
  node_cores: 'nodes, cores', redis_cores: 'Redis, cores', kib_per_connection: 'KiB of a connection',
};
const off = (said, measured) => 100 * (said / measured - 1);
const percent = (number) => `${number > 0 ? '+' : ''}${number.toFixed(1)} %`;

const measured = await measureAll([...KNOWN_BY, ...POINTS]);
const [known, points] = [measured.slice(0, KNOWN_BY.length), measured.slice(KNOWN_BY.length)];
/** As `gateway plan --measured` reads it. */
const knownBy = known.map(({ title, ...point }) => point);
const directory = await mkdtemp(path.join(os.tmpdir(), 'gateway-plan.'));
const lines = [];
try {
  const file = path.join(directory, 'measured.json');
  const text = JSON.stringify({ points: knownBy });
  await writeFile(file, text);
  if (options.measured) await writeFile(options.measured, `${text}\n`);
  for (const point of points) {
    const [fitted, table] = [await planned(point, file), await planned(point)];
    for (const [name, value] of Object.entries(point.measured)) {
      const line = { title: point.title, what: NAMES[name], measured: value, planned: fitted[name], table: table[name] };
      lines.push({ ...line, off: off(fitted[name], value), tableOff: off(table[name], value) });
    }
  }
} finally {
  await rm(directory, { recursive: true });
}

const print = (cells) => console.log(`| ${cells.join(' | ')} |`);
print(['', '', 'measured', 'planned for this machine', 'off', 'planned by the table', 'off']);
console.log('|---|---|---|---|---|---|---|');
for (const line of lines) {
  const figures = [line.measured, line.planned, line.table].map((number) => number.toFixed(3));
  print([line.title, line.what, figures[0], figures[1], percent(line.off), figures[2], percent(line.tableOff)]);
  if (!(Math.abs(line.off) <= within)) failures.push(`${line.title}, ${line.what}: ${percent(line.off)} off`);
}
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(JSON.stringify({ settings: { seconds, runs, load, within, profile: PROFILE }, lines, points: knownBy, failures }));
process.exitCode = failures.length ? 1 : 0;
