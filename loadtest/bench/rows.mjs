// The rows of the table: what each measures, on which servers, and how.

import { cpuMicroseconds, startRedis, swarm } from './servers.mjs';

const CONNECT_RATE = 1_500;
/** Per generator: a process may often open no more than 20,000 files, and so may the server. */
const WAVE_OF_A_GENERATOR = 5_000;
const GENERATORS = 2;
const MIB = 1_024;

/** CPU per delivery of one node that keeps its log in memory or, with `disk`, in SQLite. */
const oneNode = (disk) => async (start, { seconds, connections }) => {
  const server = await start({ disk });
  try {
    const report = await swarm('rooms', server, {
      connections, seconds, 'room-size': 100, rate: 200, bytes: 100, 'connect-rate': CONNECT_RATE, warmup: '3s',
    });
    const values = { cpu: report.serverCpu.usPerDelivery, p99: report.latency.p99Us / 1_000 };
    return { values, failures: report.failures };
  } finally {
    await server.stop();
  }
};

/** CPU per delivery of three nodes and their Redis. */
const cluster = (roomSize, rate) => async (start, { seconds, connections }) => {
  const redis = await startRedis();
  try {
    const server = await start({ nodes: 3, redis });
    try {
      const report = await swarm('rooms', server, {
        connections: Math.floor(connections / roomSize) * roomSize, seconds, 'room-size': roomSize, rate, bytes: 100,
        'connect-rate': CONNECT_RATE, warmup: '3s', 'redis-pid': redis.pid,
      });
      const [nodes, store] = [report.serverCpu.usPerDelivery, report.redisCpu.usPerDelivery];
      const values = { nodes, redis: store, cpu: nodes + store, publish: report.redisUsPerPublish };
      return { values, failures: report.failures };
    } finally {
      await server.stop();
    }
  } finally {
    await redis.stop();
  }
};

/** What an idle session weighs, each way on a fresh server: pages that were used once are not given back. */
async function weight(start, { connections }) {
  const values = {};
  const failures = [];
  for (const [name, options] of Object.entries({ direct: {}, upgraded: { upgrade: true } })) {
    const server = await start({});
    try {
      const report = await swarm('idle', server, { connections, hold: '3s', 'connect-rate': CONNECT_RATE, ...options });
      values[name] = report.memory.kibPerConnection;
      failures.push(...report.failures);
    } finally {
      await server.stop();
    }
  }
  return { values, failures };
}

async function stalled(start) {
  const server = await start({});
  try {
    const report = await swarm('backlog', server, {});
    return { values: { held: (report.peakKib - report.beforeKib) / MIB }, failures: report.failures };
  } finally {
    await server.stop();
  }
}

/** With half of the time for each number of threads, so that they stand as close together as they can. */
async function saturation(start, { seconds, connections }) {
  const values = {};
  const failures = [];
  for (const threads of [1, 2]) {
    const server = await start({ threads });
    try {
      const report = await swarm('saturate', server, {
        connections, seconds: Math.ceil(seconds / 2), 'connect-rate': CONNECT_RATE,
      });
      values[`threads${threads}`] = report.deliveriesPerSecond;
      values[`cores${threads}`] = report.serverCpu.cores;
      failures.push(...report.failures);
    } finally {
      await server.stop();
    }
  }
  values.gain = values.threads2 / values.threads1;
  return { values, failures };
}

/**
 * Handshakes as fast as they come, in waves that fit into the server's open files. What ends between the waves is not
 * counted.
 */
async function handshakes(start, { handshakes: wanted }) {
  const server = await start({});
  const values = { lost: 0, cpu: 0 };
  let spent = 0;
  try {
    for (let opened = 0; opened < wanted; ) {
      const connections = Math.ceil(Math.min(WAVE_OF_A_GENERATOR, (wanted - opened) / GENERATORS));
      const before = await cpuMicroseconds(server.pids);
      let open = 0;
      let allIn;
      const counted = new Promise((resolve) => (allIn = resolve));
      const onLine = (line) => {
        if (/connections open after/.test(line) && ++open === GENERATORS) allIn(cpuMicroseconds(server.pids));
      };
      // They stay until the other generators' are in, too.
      const options = { connections, hold: '3s', 'connect-rate': 0 };
      const generators = Array.from({ length: GENERATORS }, () => swarm('idle', server, options, onLine));
      const reports = await Promise.all(generators);
      spent += (await counted) - before;
      opened += connections * GENERATORS;
      values.lost += reports.reduce((sum, { connected }) => sum + connections - connected, 0);
      values.cpu = spent / opened;
    }
  } finally {
    await server.stop();
  }
  return { values, failures: values.lost ? [`${values.lost} handshakes lost`] : [] };
}

const ALL = ['node', 'gateway', 'before'];
const CPU = 'CPU, µs per delivery';

/**
 * A row's parts are measured by turns, each on its servers. Their `lines` are what goes into the table: a value's name,
 * what it is called there, and its digits. `like` is the part that says what servers reach that this one has no variant
 * of.
 */
export const ROWS = [
  {
    row: 1,
    title: 'one node, rooms of 100, 200 events/s of 100 B',
    runs: 2,
    parts: [
      {
        servers: ['floor', ...ALL],
        measure: oneNode(false),
        lines: [['cpu', `in memory: ${CPU}`, 1], ['p99', 'in memory: p99, ms', 1]],
      },
      { servers: ['gateway', 'before'], measure: oneNode(true), lines: [['cpu', `in SQLite: ${CPU}`, 1]], like: 0 },
    ],
  },
  {
    row: 2,
    title: 'three nodes and Redis, rooms of 90, 150 events/s of 100 B',
    runs: 2,
    parts: [{
      servers: ALL,
      measure: cluster(90, 150),
      lines: [['cpu', CPU, 1], ['nodes', 'of it nodes', 1], ['redis', 'of it Redis', 1]],
    }],
  },
  {
    row: 3,
    title: 'three nodes and Redis, rooms of 9, 1,000 events/s of 100 B',
    runs: 2,
    parts: [{
      servers: ALL,
      measure: cluster(9, 1_000),
      lines: [
        ['cpu', CPU, 1], ['nodes', 'of it nodes', 1], ['redis', 'of it Redis', 1],
        ['publish', 'Redis, µs per publish', 0],
      ],
    }],
  },
  {
    row: 4,
    title: 'idle websockets',
    runs: 1,
    parts: [{
      servers: ALL,
      measure: weight,
      lines: [['direct', 'KiB resident of each', 1], ['upgraded', 'the same, upgraded from long-polling', 1]],
    }],
  },
  {
    row: 5,
    title: '20 clients that do not read, 10 MiB published',
    runs: 1,
    parts: [{ servers: ALL, measure: stalled, lines: [['held', 'MiB resident, growth at most', 0]] }],
  },
  {
    row: 6,
    title: 'saturation, rooms of 100',
    runs: 2,
    parts: [{
      servers: ['gateway', 'before'],
      measure: saturation,
      lines: [
        ['threads1', 'deliveries/s with one worker thread', 0], ['threads2', 'with two', 0], ['gain', 'two to one', 2],
      ],
    }],
  },
  {
    row: 7,
    title: 'handshakes as fast as they come',
    runs: 1,
    parts: [{ servers: ALL, measure: handshakes, lines: [['cpu', 'CPU, µs each', 0], ['lost', 'lost', 0]] }],
  },
];
