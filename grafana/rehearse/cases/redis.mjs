// Redis itself: full, evicting, not written to its disk, or with settings that put data at risk.

import { mkdir, rmdir } from 'node:fs/promises';
import path from 'node:path';

const used = async (stage) => Number((await stage.redis('INFO', 'memory')).match(/used_memory:(\d+)/)[1]);
const limit = async (stage, times) => stage.redis('CONFIG', 'SET', 'maxmemory', `${Math.round((await used(stage)) * times)}`);
const roomy = (stage) => stage.redis('CONFIG', 'SET', 'maxmemory', '1gb');
const publishing = (stage) => stage.repeat(100, () => stage.publish());

export const redis = [
  {
    alert: 'GatewayRedisUnsafe',
    shows: { 'metric redis_unsafe': /setting="eviction"\} 1/, 'redis-cli $REDIS CONFIG GET maxmemory-policy': /allkeys-lru/ },
    async begin(stage) {
      await stage.redis('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    },
    act: (_, { follows }) => follows('redis-cli $REDIS CONFIG SET maxmemory-policy noeviction'),
  },
  {
    alert: 'GatewayLogNearLimit',
    async begin(stage) {
      // What publishes may have is 85 percent.
      await limit(stage, 1 / 0.85 / 0.9);
      return () => roomy(stage);
    },
    shows: { 'metric rate_limit_decisions_total | grep deny': /decision="deny"/ },
  },
  {
    alert: 'GatewayLogFull',
    fills: () => ({ SIZE: '2gb' }),
    shows: { 'metric log_bytes': /gateway_log_bytes_limit/, 'redis-cli $REDIS INFO memory': /maxmemory_human/ },
    async begin(stage) {
      const stop = publishing(stage);
      await limit(stage, 1.1);
      return stop;
    },
    act: (_, { follows }) => follows('redis-cli $REDIS CONFIG SET maxmemory SIZE'),
  },
  {
    alert: 'GatewayRedisMemoryNearLimit',
    fills: () => ({ SIZE: '2gb' }),
    async begin(stage) {
      await limit(stage, 1.03);
      return () => roomy(stage);
    },
    shows: { 'redis-cli $REDIS CONFIG SET': /OK/ },
    act: (_, { follows }) => follows('redis-cli $REDIS CONFIG SET maxmemory SIZE'),
  },
  {
    alert: 'GatewayRedisNotWritten',
    shows: { 'redis-cli $REDIS INFO persistence': /rdb_last_bgsave_status:err/ },
    async begin(stage) {
      // A folder stands where the file is to be.
      const inTheWay = path.join(stage.redisFolder, 'dump.rdb');
      await mkdir(inTheWay);
      await stage.redis('BGSAVE');
      this.inTheWay = inTheWay;
    },
    async act(_, { follows }) {
      await rmdir(this.inTheWay);
      await follows('redis-cli $REDIS BGSAVE');
    },
  },
  {
    alert: 'GatewayRedisEvicts',
    shows: { 'redis-cli $REDIS CONFIG GET maxmemory-policy': /allkeys-random/, 'redis-cli $REDIS INFO stats': /evicted_keys:[1-9]/ },
    async begin(stage) {
      await stage.redis('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random');
      await limit(stage, 0.98);
      return () => roomy(stage);
    },
    act: (_, { follows }) => follows('redis-cli $REDIS CONFIG SET maxmemory-policy noeviction'),
  },
];
