// Clients that are not let in or lost at once, and a node that has as many as it may.

import { delay } from '../stage.mjs';

const get = (stage, where) => stage.ask('GET', where, undefined, { authorization: '' });

export const connections = [
  {
    alert: 'GatewayConnectionsNearLimit',
    async begin(stage) {
      const small = await stage.odd({ GATEWAY_LIMITS__CONNECTIONS: '20' });
      await stage.targets([small.host]);
      const end = stage.swarm('idle', '--url', small.url, '--connections', '18', '--hold', '120s');
      return async () => {
        await end();
        await small.stop();
        await stage.targets();
      };
    },
  },
  {
    alert: 'GatewayHandshakeFailures',
    shows: { 'metric handshakes_total': /result="bad_request"\} [1-9]/ },
    async begin(stage) {
      return stage.repeat(100, () => get(stage, `${stage.node.url}/socket.io/?EIO=3&transport=polling`));
    },
  },
  {
    alert: 'GatewayMassDisconnect',
    shows: { 'metric connections_closed_total': /reason="transport_close"\} [1-9]/ },
    async begin(stage) {
      // As often as it takes to read about it: the alert is over soon after everybody is lost.
      let isOver = false;
      const losses = (async () => {
        while (!isOver) {
          const kill = stage.swarm('idle', '--url', stage.node.url, '--connections', '90', '--hold', '120s');
          await delay(8_000);
          await kill();
        }
      })();
      return async () => {
        isOver = true;
        await losses;
      };
    },
  },
  {
    alert: 'GatewayRequestsLost',
    shows: { 'metric \'bad_requests_total|passed_on_total|passing_nodes\'': /kind="request"\} [1-9]/ },
    async begin(stage) {
      // As where the node that has a connection cannot be reached: its client asks another one again and again.
      const path = `${stage.node.url}/socket.io/?EIO=4&transport=polling`;
      const { sid } = JSON.parse((await get(stage, path)).text.slice(1));
      await stage.ask('POST', `${path}&sid=${sid}`, 1, { authorization: '' });
      return stage.repeat(50, () => get(stage, `${path}&sid=${sid}`));
    },
  },
  {
    alert: 'GatewayFlooded',
    shows: { 'metric \'rate_limit_decisions_total.*deny\'': /limiter="address_requests"[^\n]* [1-9]/ },
    async begin(stage) {
      const path = `${stage.node.url}/nothing-is-here`;
      return stage.repeat(100, () => Promise.all(Array.from({ length: 40 }, () => get(stage, path))));
    },
  },
  {
    alert: 'GatewayBuffersNearLimit',
    at: (stage) => stage.deafened,
    shows: {
      'operator "$ADMIN/console/api/sessions?limit=500"': /"bytes":[1-9]/,
      // Nobody has been closed yet, which is what it is good for.
      'metric \'connections_closed_total.*(slow|flooding)\'': /^$|\} 0/,
    },
    async begin(stage) {
      stage.deafened = await stage.deaf({});
      return () => stage.deafened.stop();
    },
  },
];
