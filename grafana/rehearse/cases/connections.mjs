// Clients that are not let in, and a node that has as many as it may.

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
];
