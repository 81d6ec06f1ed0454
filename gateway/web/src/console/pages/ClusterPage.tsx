// The nodes: how they are, what they do, and what all of them do together.

import { count, percent, perSecond } from '../format';
import { useLive } from '../link/useLive';
import { byName, isSilent, totals } from '../live/cluster';
import { Chart, type Line } from '../parts/Chart';
import { Page, Part } from '../parts/Page';
import { BalancePart } from './BalancePart';
import { NodeCard } from './NodeCard';

const THROUGHPUT: readonly Line[] = [
  { key: 'received', label: 'received', colour: 1 },
  { key: 'delivered', label: 'delivered', colour: 2 },
  { key: 'refused', label: 'refused', colour: 3 },
];
const LATENCY: readonly Line[] = [
  { key: 'ackP50', label: 'half of them', colour: 1 },
  { key: 'ackP99', label: '99 %', colour: 3 },
];
const LAG: readonly Line[] = [{ key: 'lag', label: 'worst node', colour: 3 }];
const CPU: readonly Line[] = [{ key: 'cpu', label: 'busiest node', colour: 1 }];
const CONNECTIONS: readonly Line[] = [{ key: 'connections', label: 'all nodes', colour: 2 }];

const ms = (value: number | undefined) => (value === undefined ? '–' : `${count(value)} ms`);

export function ClusterPage() {
  const cluster = useLive((live) => live.cluster);
  const samples = useLive((live) => live.samples);
  const now = useLive((live) => live.now);
  const nodes = byName(cluster);
  const all = totals(cluster, now);
  const silent = nodes.filter((node) => isSilent(node, now)).length;
  return (
    <Page title="Cluster">
      <ul className="totals">
        <Total name="nodes" value={count(all.nodes)} more={silent > 0 ? `${count(silent)} silent` : undefined} />
        <Total name="connections" value={count(all.connections)} more={`${count(all.polling)} by polling`} />
        <Total name="sessions" value={count(all.sessions)} />
        <Total name="received" value={perSecond(all.received)} />
        <Total name="delivered" value={perSecond(all.delivered)} />
        <Total name="refused" value={perSecond(all.refused)} />
      </ul>
      <Part title="Nodes">
        {nodes.length === 0 ? <p className="empty">Waiting for figures, which come every two seconds …</p> : null}
        <ul className="cards">
          {nodes.map((node) => (
            <NodeCard key={node.serverId} node={node} silent={isSilent(node, now)} />
          ))}
        </ul>
      </Part>
      <BalancePart />
      <Part title="Since this page is open">
        <div className="charts">
          <Chart title="Events" lines={THROUGHPUT} samples={samples} write={perSecond} />
          <Chart title="Until a publish is acknowledged" lines={LATENCY} samples={samples} write={ms} />
          <Chart title="Connections" lines={CONNECTIONS} samples={samples} write={count} />
          <Chart title="CPU, of a core" lines={CPU} samples={samples} write={percent} />
          <Chart title="How late timers are" lines={LAG} samples={samples} write={ms} />
        </div>
      </Part>
    </Page>
  );
}

function Total({ name, value, more }: { name: string; value: string; more?: string | undefined }) {
  return (
    <li>
      <b>{value}</b> <span>{name}</span> {more === undefined ? null : <small>{more}</small>}
    </li>
  );
}
