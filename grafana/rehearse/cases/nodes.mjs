// Nodes that are gone, come and go, do not see each other, or drain.

import { spawnSync } from 'node:child_process';
import { delay, eventually } from '../stage.mjs';

const second = (stage) => stage.cluster.nodes[1];

async function killed(stage, node) {
  stage.cluster.signal(node, 'SIGKILL');
  await stage.cluster.ended(node.name, 30_000);
}

export const nodes = [
  {
    alert: 'GatewayTargetDown',
    at: second,
    shows: { 'curl -m 3 $ADMIN/livez': /Failed to connect|Couldn't connect|timed out/ },
    async begin(stage) {
      await killed(stage, second(stage));
      return () => stage.back('node-2');
    },
  },
  {
    alert: 'GatewayAbsent',
    fills: (stage) => ({ 'https://YOUR.HOST': stage.cluster.url }),
    shows: { 'curl -m 3': /^0\{/ },
    async begin(stage) {
      await stage.targets([], []);
      return () => stage.targets();
    },
  },
  {
    alert: 'GatewayCrashLoop',
    at: second,
    async begin(stage) {
      for (let start = 0; start < 4; start++) {
        await killed(stage, second(stage));
        await stage.back('node-2');
        // Prometheus has to have seen each of them.
        await delay(1500);
      }
    },
  },
  {
    alert: 'GatewayClusterSplit',
    shows: { operator: /"node":"node-1"/, 'redis-cli $REDIS ROLE': /^master/ },
    async begin(stage) {
      const odd = await stage.odd({ GATEWAY_REDIS__PREFIX: 'another' });
      await stage.targets([odd.host]);
      return async () => {
        await odd.stop();
        await stage.targets();
      };
    },
    look: (_, { follows }) => follows('redis-cli $REDIS ROLE'),
  },
  {
    alert: 'GatewayDrainOverrun',
    at: (stage) => stage.drained,
    fills: () => ({ NAME: 'odd' }),
    async begin(stage) {
      // A node that may take a minute for it, and does.
      stage.drained = await stage.odd({ GATEWAY_DRAIN__TIMEOUT: '90s', GATEWAY_DRAIN__CONNECTIONS_PER_SECOND: '1' });
      await stage.targets([stage.drained.host]);
      const clients = stage.swarm('idle', '--url', stage.drained.url, '--connections', '60', '--hold', '120s');
      await eventually('they are there', async () => (await stage.cluster.metric(stage.drained, 'gateway_connections')) === 60, 30_000);
      await stage.order(stage.drained, 'odd', 'drain');
      return async () => {
        await clients();
        await stage.drained.stop();
        await stage.targets();
      };
    },
    act: (_, { follows }) => follows('operator -X POST "$ADMIN/console/api/nodes/NAME/resume"'),
  },
  {
    alert: 'GatewayFileDescriptorsNearLimit',
    fills: (stage) => ({ PID: stage.node.pid, LIMIT: stage.mayOpen }),
    async begin(stage) {
      stage.mayOpen = await stage.cluster.metric(stage.node, 'process_max_fds');
      const has = await stage.cluster.metric(stage.node, 'process_open_fds');
      spawnSync('prlimit', ['--pid', `${stage.node.pid}`, `--nofile=${Math.round(has * 1.1)}:`]);
    },
    act: (_, { follows }) => follows('prlimit --pid PID --nofile=LIMIT'),
  },
  {
    alert: 'GatewayDrainCutShort',
    at: (stage) => stage.deafened,
    async begin(stage) {
      // Who does not read is cut off a second after it was asked to go: that is more than this node has.
      stage.deafened = await stage.deaf({ GATEWAY_DRAIN__TIMEOUT: '1s', GATEWAY_DRAIN__ANNOUNCE: '200ms' });
      await stage.order(stage.deafened, 'odd', 'drain');
      return () => stage.deafened.stop();
    },
  },
];
