// Back ends, the issuer of keys and the database: away, slow, or not able to take what they are told.

import { delay, eventually } from '../stage.mjs';

const publishing = (stage, room) => stage.repeat(100, () => stage.publish(room));
const second = (stage) => stage.cluster.nodes[1];
const job = (stage, more) => stage.ask('POST', '/api/v1/jobs', { kind: 'http', data: { to: 'billing', body: { invoice: 7 } }, ...more });

async function failing(stage) {
  stage.backEnd.fail(true);
  return () => stage.backEnd.fail(false);
}

/** The database stands still. */
async function still(stage) {
  await stage.postgres.signal('SIGSTOP');
  return () => stage.postgres.signal('SIGCONT');
}

export const services = [
  {
    alert: 'GatewayPresenceLeasesLost',
    shows: { metric: /op="beat"/ },
    async begin(stage) {
      const node = stage.cluster.nodes[2];
      const pause = stage.repeat(5000, async () => {
        stage.cluster.signal(node, 'SIGSTOP');
        await delay(3500);
        stage.cluster.signal(node, 'SIGCONT');
      });
      return pause;
    },
  },
  {
    alert: 'GatewayPresenceBehind',
    async begin(stage) {
      await stage.redis('CLIENT', 'PAUSE', '120000', 'WRITE');
      return () => stage.redis('CLIENT', 'UNPAUSE');
    },
  },
  {
    alert: 'GatewayKeysStale',
    fills: (stage) => ({ JWKS_URL: `${stage.backEnd.url}/keys` }),
    shows: { 'curl -v': /503/ },
    begin: failing,
  },
  {
    alert: 'GatewayKeysMissing',
    at: second,
    async begin(stage) {
      stage.backEnd.fail(true);
      stage.cluster.signal(second(stage), 'SIGKILL');
      await stage.cluster.ended('node-2', 30_000);
      await stage.back('node-2');
      return () => stage.backEnd.fail(false);
    },
  },
  {
    alert: 'GatewayRevocationsBehind',
    shows: { 'metric revocation': /gateway_revocations \d/, 'operator "': /nobody/ },
    async begin(stage) {
      await stage.ask('POST', '/api/v1/revocations', { user: 'nobody' });
      const odd = await stage.odd({ GATEWAY_REDIS__PREFIX: 'another' });
      await stage.targets([odd.host]);
      return async () => {
        await odd.stop();
        await stage.targets();
      };
    },
    look: (_, { follows }) => follows('operator -X POST "$ADMIN/revocations"'),
  },
  {
    alert: 'GatewayEntryUndecided',
    fills: (stage) => ({ AUTH_HOOK_URL: stage.entry.url }),
    shows: { metric: /answer="unavailable"\} [1-9]/, 'curl -i': /HTTP\/1.1 503/ },
    async begin(stage) {
      stage.entry.status = 503;
      return () => {
        stage.entry.status = 200;
      };
    },
  },
  {
    alert: 'GatewayBackEndLeftAlone',
    shows: { 'metric call_breakers_open': /of="(hooks|routes)"\} [1-9]/, 'operator "': /shop/ },
    async begin(stage) {
      stage.backEnd.fail(true);
      const stop = publishing(stage);
      return async () => {
        stage.backEnd.fail(false);
        await stop();
      };
    },
  },
  {
    alert: 'GatewayHookLate',
    shows: { 'operator "': /shop/ },
    async begin(stage) {
      stage.backEnd.fail(true);
      const stop = publishing(stage);
      return async () => {
        stage.backEnd.fail(false);
        await stop();
      };
    },
  },
  {
    alert: 'GatewayHookLoses',
    fills: () => ({ NAME: 'legacy' }),
    shows: { 'operator "': /legacy/ },
    async begin(stage) {
      await stage.publish('never-heard-of');
    },
    look: (_, { follows }) => follows('operator -X POST "$ADMIN/hooks/NAME/retry"'),
  },
  {
    alert: 'GatewayEmittersRefused',
    shows: { metric: /reason="\w+"\} [1-9]/ },
    async begin(stage) {
      return stage.repeat(100, () => stage.redis('PUBLISH', 'socket.io#/#', 'rubbish'));
    },
  },
  {
    alert: 'GatewayJobsDead',
    fills: async (stage) => ({ ID: stage.failed, NAME: 'default' }),
    async begin(stage) {
      stage.backEnd.fail(true);
      stage.failed = JSON.parse((await job(stage, { attempts: 1 })).text).id;
    },
    async act(stage, { follows }) {
      stage.backEnd.fail(false);
      // One in twenty is refused by the back end of the pictures.
      await eventually('the job is done', async () => {
        await follows('operator -X POST "$ADMIN/console/api/v1/jobs/ID/retry"');
        await delay(2000);
        return (await stage.cluster.metric(stage.node, 'gateway_jobs', { state: 'failed' })) === 0;
      }, 30_000);
    },
  },
  {
    alert: 'GatewayJobsLate',
    shows: { 'operator "': /default/ },
    async begin(stage) {
      // More comes than workers get done at that.
      stage.entry.takesMs = 2500;
      const stop = stage.repeat(100, () => job(stage, { data: { to: 'slow', body: 1 } }));
      return async () => {
        await stop();
        stage.entry.takesMs = 0;
      };
    },
  },
  {
    alert: 'GatewayDatabaseAway',
    begin: still,
  },
  {
    alert: 'GatewayNotificationsFail',
    async begin(stage) {
      const back = await still(stage);
      const stop = stage.repeat(500, () => stage.ask('POST', '/api/v1/users/user-1/notifications', { message: 'your order is on its way' }));
      return async () => {
        await back();
        await stop();
      };
    },
  },
  {
    alert: 'GatewayArchiveLate',
    begin: still,
  },
  {
    alert: 'GatewayArchiveGap',
    async begin(stage) {
      const back = await still(stage);
      const stop = publishing(stage);
      await delay(35_000);
      await stop();
      await back();
    },
    async look(stage, { check }) {
      const logs = await Promise.all(stage.cluster.nodes.map((node) => stage.logOf(node)));
      check(logs.some((log) => log.includes('the archive does not have everything')), 'no log says it');
    },
  },
];
