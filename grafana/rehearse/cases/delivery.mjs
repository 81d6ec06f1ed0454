// Redis that is away, slow, silent, or not the primary, and what of the objectives follows.

import { delay, eventually } from '../stage.mjs';

async function away(stage) {
  await stage.redis('SHUTDOWN', 'NOSAVE').catch(() => {});
  await stage.cluster.ended('redis', 30_000);
  return () => stage.back('redis');
}
const publishing = (stage) => stage.repeat(100, () => stage.publish());
/** Redis stands still for most of the time. */
async function slow(stage) {
  const stop = publishing(stage);
  const hang = stage.repeat(900, async () => {
    process.kill(stage.redisPid, 'SIGSTOP');
    await delay(700);
    process.kill(stage.redisPid, 'SIGCONT');
  });
  return async () => {
    await hang();
    process.kill(stage.redisPid, 'SIGCONT');
    await stop();
  };
}

async function refused(stage) {
  const stop = publishing(stage);
  await delay(8000);
  const back = await away(stage);
  return async () => {
    await back();
    await stop();
  };
}

/** Members of a room lose their connections, and meanwhile more is said there than its log keeps. */
async function forgetful(stage) {
  const sockets = stage.members('chat-busy', 14, { reconnectionDelay: 2500, randomizationFactor: 0 });
  await eventually('they are there', () => sockets.every(({ joined }) => joined));
  return stage.repeat(6000, async () => {
    for (const socket of sockets) socket.io.engine.close();
    for (let said = 0; said < 150; said += 30) await Promise.all(Array.from({ length: 30 }, () => stage.publish('chat-busy')));
  });
}

export const delivery = [
  {
    alert: 'GatewayPublishBudgetBurn',
    shows: { metric: /gateway_log_errors_total\{op="append"\} [1-9]/, 'redis-cli $REDIS SET': /OOM|MISCONF|READONLY|refused|NOPERM/ },
    begin: refused,
    look: (_, { follows }) => follows('redis-cli $REDIS SET $PREFIX:probe'),
  },
  {
    alert: 'GatewayDeliveryBudgetBurn',
    begin: slow,
    async look(_, { follows }) {
      for (const begins of ['SLOWLOG GET 10', 'INFO persistence']) await follows(`redis-cli $REDIS ${begins}`);
      await follows('operator "$ADMIN/console/api/rooms"');
    },
  },
  {
    alert: 'GatewayRecoveryBudgetBurn',
    shows: { 'metric recoveries_total': /result="(retention|too_much|history)"\} [1-9]/ },
    begin: forgetful,
  },
  {
    alert: 'GatewayBusDisconnected',
    shows: { 'redis-cli $REDIS PING': /Connection refused/ },
    begin: away,
  },
  {
    alert: 'GatewayNodeDeaf',
    async begin(stage) {
      // It answers, and takes no write: nothing that nodes tell each other either.
      await stage.redis('CLIENT', 'PAUSE', '120000', 'WRITE');
      return () => stage.redis('CLIENT', 'UNPAUSE');
    },
    async look(_, { follows }) {
      for (const begins of ['CLIENT LIST TYPE pubsub', 'PUBSUB CHANNELS']) await follows(`redis-cli $REDIS ${begins}`);
    },
  },
  {
    alert: 'GatewayGapLost',
    shows: { 'redis-cli $REDIS INFO server': /uptime_in_seconds:\d/ },
    async begin(stage) {
      const node = stage.node;
      stage.cluster.signal(node, 'SIGSTOP');
      try {
        // What it would have heard is thrown away, and more is said than the log of a room keeps.
        await stage.redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
        await delay(500);
        for (let round = 0; round < 20; round++) {
          const said = Array.from({ length: 24 }, (_, room) => stage.ask('POST', `${stage.cluster.nodes[1].url}/api/v1/rooms/chat-${room}/events`, { event: 'news', data: round }));
          await Promise.all(said);
        }
        for (let round = 0; round < 150; round++) await stage.ask('POST', `${stage.cluster.nodes[1].url}/api/v1/rooms/chat-1/events`, { event: 'news', data: 1 });
      } finally {
        stage.cluster.signal(node, 'SIGCONT');
      }
    },
  },
  {
    alert: 'GatewayStoresFail',
    shows: { metric: /_errors_total\{op="\w+"\} [1-9]/, 'redis-cli $REDIS SLOWLOG': /refused/ },
    begin: away,
    look: (_, { follows }) => follows('redis-cli $REDIS SLOWLOG GET 10'),
  },
  {
    alert: 'GatewayEmittersNotTaken',
    begin: away,
  },
  {
    alert: 'GatewayRedisFlapping',
    shows: { 'metric redis_distrusted_total': /reason="(replica|readonly)"\} [1-9]/, 'redis-cli $REDIS ROLE': /master|slave/ },
    async begin(stage) {
      const flap = stage.repeat(2500, async () => {
        await stage.redis('REPLICAOF', '127.0.0.1', '1');
        await delay(1200);
        await stage.redis('REPLICAOF', 'NO', 'ONE');
      });
      return async () => {
        await flap();
        await stage.redis('REPLICAOF', 'NO', 'ONE');
      };
    },
  },
];
