// Balancing: how far nodes are from their shares of all clients, and stopping what brings them there.

import { count } from '../format';
import { ours } from '../link/api';
import { useLink } from '../link/SocketProvider';
import { useAskEvery } from '../link/useAsk';
import type { Balance } from '../link/answers';
import { Act } from '../parts/Act';
import { Answered } from '../parts/Answered';
import { Badge } from '../parts/Badge';
import { Part } from '../parts/Page';
import { Table } from '../parts/Table';

/** A second until all nodes have heard an order, and as fast as figures come. */
const EVERY_MS = 2_000;

export function BalancePart() {
  const asked = useAskEvery<Balance>(EVERY_MS, ours(['balance']));
  return (
    <Part title="Balancing" beside={asked.data === undefined ? null : <Order balance={asked.data} ordered={asked.again} />}>
      <Answered asked={asked}>
        {(balance) => (
          <>
            <p role="status" className="hint">
              <State of={balance.state} /> {balance.why}
            </p>
            {balance.state === 'off' ? null : (
              <Table
                caption="Shares of the nodes"
                columns={[
                  { title: 'Node', cell: (node) => node.node },
                  { title: 'Connections', figure: true, cell: (node) => count(node.connections) },
                  { title: 'Its share', figure: true, cell: (node) => (node.share === null ? '–' : count(node.share)) },
                  { title: 'Takes clients', cell: (node) => (node.open ? 'yes' : 'no') },
                  { title: 'Moved to others', figure: true, cell: (node) => count(node.moves) },
                ]}
                rows={balance.nodes}
                keyOf={(node) => node.node}
                empty="No node says how it stands."
              />
            )}
          </>
        )}
      </Answered>
    </Part>
  );
}

function State({ of }: { of: Balance['state'] }) {
  if (of === 'even') return <Badge tone="good">even</Badge>;
  if (of === 'moving') return <Badge tone="warn">moving clients</Badge>;
  if (of === 'given_up') return <Badge tone="bad">given up</Badge>;
  return <Badge tone="plain">{of}</Badge>;
}

/** Stops it on all nodes, or starts it again. */
function Order({ balance, ordered }: { balance: Balance; ordered: () => void }) {
  const { api } = useLink();
  const send = async (order: 'stop' | 'start') => {
    await api.send('POST', ours(['balance', order]));
    ordered();
  };
  const start = async () => {
    await send('start');
    return 'Nodes share their clients again.';
  };
  const stop = async () => {
    await send('stop');
    return 'No node moves clients any more.';
  };
  if (balance.state === 'off') return null;
  if (balance.state === 'stopped') return <Act label="Start" of="balancing" run={start} />;
  return (
    <>
      {balance.state === 'given_up' ? <Act label="Try again" of="balancing" run={start} /> : null}
      <Act label="Stop" of="balancing" run={stop} />
    </>
  );
}
