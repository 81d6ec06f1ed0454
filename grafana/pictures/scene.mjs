// A cluster that has seven and a half minutes of everything: clients, back ends, jobs, mail, an archive, a load test, and faults one after the
// other, watched by Prometheus. What it saw is what the pictures show.
//
//   node scene.mjs FOLDER     FOLDER gets Prometheus' data, and scene.json, which says from when to when it was

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { Postgres } from '../../gateway/tests/clients/databases.mjs';
import { configured, eventually, makeKey, startCluster } from '../../gateway/tests/clients/harness.mjs';
import { Mailpit } from '../../gateway/tests/clients/mailpit.mjs';
import { Server } from '../../gateway/tests/clients/server.mjs';
import { BackEnd } from './backend.mjs';
import { Crowd, SECRET } from './crowd.mjs';
import { emitAlways } from './emits.mjs';
import { Prometheus } from './prometheus.mjs';
import { asker } from './requests.mjs';
import { sleep } from './sleepers.mjs';

const SWARM = process.env.SWARM_BIN ?? 'target/release/swarm';
const root = path.resolve(import.meta.dirname, '../..');
const folder = path.resolve(process.argv[2] ?? assert.fail('usage: scene.mjs FOLDER'));
const LENGTH_S = 450;
const K6 = path.join(root, '.tools/bin/k6');

const ends = [];
const say = (what) => console.error(`scene: ${what}`);

/** What the nodes are told; everything that has metrics is switched on. */
function configuration(backEnd, mailpit, database, keys) {
  const hook = (name, more) => `[[hook]]\nname = "${name}"\nurl = "${backEnd.url}/${name}"\nsecrets = ["a secret of the hooks"]\n${more}\n`;
  return `
    profile = "native"
    [auth]
    secret = "${SECRET}"
    jwks_url = "${backEnd.url}/keys"
    jwks_refresh = "15s"
    [auth.hook]
    url = "${backEnd.url}/entry"
    kept = "20s"
    [limits]
    refusals_per_second = 5
    refusals_burst = 60
    user_kept_bytes_per_second = 4096
    user_kept_bytes_burst = 65536
    backlog_bytes = 1048576
    [socket]
    write_timeout = "8s"
    [log]
    max_percent = 85
    [calls]
    in_flight = 32
    [emitters]
    redis = true
    streams = true
    durable = true
    [archive]
    rooms = ["chat-*"]
    lease = "2s"
    [notifications]
    sweep = "5s"
    keep = "2m"
    sender_per_second = 1
    sender_burst = 5
    [drain]
    connections_per_second = 10
    [notifications.mail]
    after = "20s"
    url = "http://127.0.0.1"
    secret = "a secret of the links that unsubscribe"
    [mail]
    host = "127.0.0.1"
    port = ${mailpit.smtpPort}
    tls = "none"
    from = "gateway@example.test"
    once = "1s"
    [database]
    url = "${database}"
    timeout = "2s"
    [admin]
    token = "a token of the operators"
    [presence]
    lease = "5s"
    [[jobs.back_end]]
    name = "billing"
    url = "${backEnd.url}/jobs"
    secrets = ["a secret of the jobs of billing"]
    timeout = "1s"
    [[schedule]]
    name = "tidy"
    cron = "*/10 * * * * *"
    kind = "upkeep"
    data = { of = "notifications" }
    ${keys}
    ${hook('shop', 'events = ["room.joined", "room.left", "publish"]\nrooms = "chat-1*"\ntimeout = "1s"')}
    ${hook('legacy', 'events = ["room.joined"]\nrooms = "chat-2*"')}
    [[route]]
    event = "order"
    action = "call"
    url = "${backEnd.url}/orders"
    timeout = "1s"
    attempts = 2
    [[route]]
    event = "price"
    action = "call"
    url = "${backEnd.url}/price"
    cache = "5s"
    shared = true
    [[route]]
    event = "mention"
    action = "notify"
    user = "{arg.whom}"
    message = "{arg.text}"
    [[route]]
    event = "later"
    action = "job"
    kind = "publish"
    data = { room = "{arg.room}", event = "reminder", data = 1 }
    [[route]]
    event = "$join"
    action = "signal"
    emit = "came"
    args = [{ user = "{user.id?}", members = "{members}" }]
    [[route]]
    event = "$leave"
    action = "signal"
    emit = "went"
    after = "3s"
    args = [{ user = "{user.id?}" }]
  `;
}

/** k6's load, told to the same Prometheus. */
async function loadTest(cluster, prometheus) {
  const environment = {
    ...process.env,
    K6_PROMETHEUS_RW_SERVER_URL: `${prometheus.url}/api/v1/write`,
    K6_PROMETHEUS_RW_TREND_STATS: 'p(50),p(95),p(99),max,count',
    K6_PROMETHEUS_RW_PUSH_INTERVAL: '5s',
    K6_PROMETHEUS_RW_STALE_MARKERS: 'true',
  };
  const knobs = { URL: cluster.url, SECRET, VUS: 4, CLIENTS: 40, ROOM_SIZE: 5, RATE: 20, RAMP_SECONDS: 10 };
  // Its clients are cut off every half minute, the last time when a node is killed as well.
  const storms = { STORMS: 8, STORM_SECONDS: 28, HOLD_SECONDS: 240 };
  const settings = Object.entries({ ...knobs, ...storms }).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  const how = ['run', '--quiet', '-o', 'experimental-prometheus-rw', '--tag', 'testid=load-with-an-outage', ...settings];
  const leash = ['--pdeathsig', 'KILL', '--', K6, ...how, path.join(root, 'loadtest/k6/reconnect.js')];
  const k6 = spawn('setpriv', leash, { env: environment, stdio: ['ignore', 'ignore', 'ignore'] });
  const ended = once(k6, 'exit');
  ends.push(async () => {
    if (k6.exitCode === null && k6.signalCode === null) k6.kill('SIGKILL');
    await ended;
  });
}

/** Redis has the places of these no more: whoever is in them is entered again. */
async function forgetPlaces(cluster) {
  const places = Array.from({ length: 12 }, (_, room) => [`gateway:presence:place:chat-${room}`, `gateway:presence:members:chat-${room}`]);
  await cluster.redis('DEL', ...places.flat());
}

/** Redis has a setting by which it throws keys away, and for a second so little memory that it does. */
async function evict(cluster) {
  const used = Number((await ask(cluster.redisPort, 'INFO', 'memory')).match(/used_memory:(\d+)/)[1]);
  await cluster.redis('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
  await cluster.redis('CONFIG', 'SET', 'maxmemory', `${Math.round(used * 0.9)}`);
  await delay(1000);
  await cluster.redis('CONFIG', 'SET', 'maxmemory', '1gb');
}

/** One command for Redis whose answer has several lines. */
async function ask(port, ...command) {
  const { stdout } = await promisify(execFile)('redis-cli', ['-h', '127.0.0.1', '-p', `${port}`, ...command]);
  return stdout.trim();
}

/** Clients that are there and say nothing, as most are. */
async function idlers(cluster, token) {
  const how = ['idle', '--url', cluster.url, '--token', token, '--connections', '360', '--hold', `${LENGTH_S}s`];
  const swarm = spawn('setpriv', ['--pdeathsig', 'KILL', '--', SWARM, ...how], { stdio: 'ignore' });
  const ended = once(swarm, 'exit');
  ends.push(async () => {
    if (swarm.exitCode === null && swarm.signalCode === null) swarm.kill('SIGKILL');
    await ended;
  });
}

async function exporter(redisPort) {
  const server = new Server('redis_exporter');
  const at = (port) => ['-web.listen-address', `127.0.0.1:${port}`, '-redis.addr', `redis://127.0.0.1:${redisPort}`];
  await server.run('prometheus-redis-exporter', at, { stdio: ['ignore', 'ignore', 'pipe'] }, async (port) => (await fetch(`http://127.0.0.1:${port}/`)).ok);
  return server;
}

const keep = (server) => {
  ends.push(() => server.stop());
  return server;
};

async function play() {
  const backEnd = keep(await BackEnd.start());
  const mailpit = keep(await Mailpit.start());
  const postgres = keep(await Postgres.start());
  const database = await postgres.create('gateway');
  // Who stands still does not hear that it should end.
  ends.push(() => postgres.signal('SIGCONT'));
  const key = await makeKey('--name', 'billing', '--scope', 'publish,read,control,notify,jobs,moderate,admin');
  const settings = await configured(configuration(backEnd, mailpit, database, key.toml));
  ends.push(() => settings.remove());
  const cluster = await startCluster(settings.settings);
  ends.push(() => cluster.stop());
  const redis = keep(await exporter(cluster.redisPort));
  await mkdir(folder, { recursive: true });
  const targets = cluster.nodes.map(({ admin }) => new URL(admin).host);
  const prometheus = await Prometheus.start(path.join(folder, 'data'), targets, [`127.0.0.1:${redis.port}`]);
  keep(prometheus);

  const crowd = new Crowd(cluster.url);
  ends.push(() => crowd.stop());
  const requests = asker(cluster.url, key.key, (user) => crowd.token(user));
  ends.push(() => requests.stop());
  const emits = await emitAlways(cluster.redisPort);
  ends.push(() => emits.stop());

  const begun = Date.now();
  const at = async (seconds, what, act) => {
    await delay(Math.max(0, begun + seconds * 1000 - Date.now()));
    say(`${seconds} s: ${what}`);
    await act();
  };
  const node = (number) => cluster.nodes[number - 1];
  const ended = (name) => cluster.ended(name, 60_000);

  await at(0, 'clients come', async () => {
    await idlers(cluster, crowd.token('idle'));
    await crowd.come(120);
  });
  await at(30, 'somebody tries tokens of operators', async () => {
    const headers = { authorization: 'Bearer a guess' };
    for (let guess = 0; guess < 20; guess++) await fetch(`${node(1).admin}/console/api/nodes`, { headers });
  });
  await at(60, 'a load test begins', () => loadTest(cluster, prometheus));
  await at(75, 'the back end fails', () => backEnd.fail(true));
  await at(85, 'many come back for much and do not read it', async () => {
    const publish = (room, data) => requests.ask('POST', `/api/v1/rooms/${room}/events`, { event: 'news', data });
    const asleep = sleep(node(1), (user) => crowd.token(user), publish, 30).catch((error) => say(`the sleepers: ${error.message}`));
    ends.push(() => asleep);
  });
  await at(125, 'the back end is well again', () => backEnd.fail(false));
  await at(150, 'Redis is killed, and has lost who is in some rooms', async () => {
    await forgetPlaces(cluster);
    await cluster.redis('SHUTDOWN', 'NOSAVE').catch(() => {});
    await ended('redis');
  });
  await at(195, 'Redis is back', () => cluster.startAgain('redis'));
  await at(240, 'a node is killed', async () => {
    cluster.signal(node(2), 'SIGKILL');
    await ended('node-2');
  });
  const inTheWay = path.join((await ask(cluster.redisPort, 'CONFIG', 'GET', 'dir')).split('\n')[1].trim(), 'dump.rdb');
  await at(262, 'Redis throws keys away, and cannot save', async () => {
    await evict(cluster);
    await mkdir(inTheWay);
    await cluster.redis('BGSAVE');
  });
  await at(315, 'the node is back', () => cluster.startAgain('node-2'));
  await at(330, 'Redis has its settings again, and saves', async () => {
    await cluster.redis('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await rmdir(inTheWay);
    await cluster.redis('BGSAVE');
  });
  await at(335, 'the database stands still', () => postgres.signal('SIGSTOP'));
  await at(370, 'the database goes on', () => postgres.signal('SIGCONT'));
  await at(385, 'a node drains', async () => {
    cluster.signal(node(3), 'SIGTERM');
    await ended('node-3');
    await cluster.startAgain('node-3');
  });
  await at(410, 'somebody floods', () => crowd.flood(20_000));
  await at(LENGTH_S, 'the end', async () => {});
  await writeFile(path.join(folder, 'scene.json'), JSON.stringify({ from: begun, to: Date.now() }));
}

try {
  await play();
} finally {
  for (const end of ends.reverse()) await end().catch((error) => say(`at the end: ${error.message}`));
}
