// One node on the map of the cluster.

import { useId } from 'react';

import { bytes, count, duration, percent } from '../format';
import { ours } from '../link/api';
import { useLink } from '../link/SocketProvider';
import type { NodeFigures } from '../live/cluster';
import { Act } from '../parts/Act';
import { Badge } from '../parts/Badge';
import { Facts } from '../parts/Table';
import { address } from '../routing';

export function NodeCard({ node, silent }: { node: NodeFigures; silent: boolean }) {
  const heading = useId();
  const name = node.serverId;
  return (
    <li className={silent ? 'card faded' : 'card'}>
      <article aria-labelledby={heading}>
        <div className="heading">
          <h3 id={heading}>{name}</h3>
          <State node={node} silent={silent} />
        </div>
        <Facts
          facts={[
            ['version', `${node.version} (${node.revision})`],
            ['host', node.hostname],
            ['up for', duration(Math.floor(node.uptime))],
            [
              'connections',
              <a href={address('sessions', undefined, { search: `node:${name}` })}>{count(node.clientsCount)}</a>,
            ],
            ['rooms', count(node.rooms)],
            ['CPU', percent(node.cpu)],
            ['lag', `${count(node.lagMs)} ms`],
            ['memory', bytes(node.memoryBytes)],
            ['operators', count(node.operators)],
          ]}
        />
        <Drain node={node} />
      </article>
    </li>
  );
}

function State({ node, silent }: { node: NodeFigures; silent: boolean }) {
  if (silent) return <Badge tone="bad">silent</Badge>;
  if (node.draining) return <Badge tone="warn">draining</Badge>;
  if (!node.hears) return <Badge tone="bad">hears nothing</Badge>;
  return node.ready ? <Badge tone="good">ready</Badge> : <Badge tone="warn">not ready</Badge>;
}

function Drain({ node }: { node: NodeFigures }) {
  const { api } = useLink();
  const name = node.serverId;
  if (node.draining) {
    const resume = async () => {
      await api.send('POST', ours(['nodes', name, 'resume']));
      return `${name} takes clients again.`;
    };
    return <Act label="Resume" of={name} run={resume} />;
  }
  const drain = async () => {
    await api.send('POST', ours(['nodes', name, 'drain']));
    return `${name} hands its clients over.`;
  };
  return (
    <Act
      label="Drain"
      of={name}
      run={drain}
      ask={{
        title: `Drain ${name}?`,
        text: `It takes no new clients, and its ${count(node.clientsCount)} connections are handed over to the other nodes, bit by bit. Clients come back with everything they missed. It goes on running, and takes clients again when it is resumed.`,
        verb: 'Drain it',
      }}
    />
  );
}
