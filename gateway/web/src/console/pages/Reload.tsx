// Takes the routes from the files anew: the difference is shown first.

import { useState } from 'react';

import { several } from '../format';
import { explain, ours } from '../link/api';
import { useLink } from '../link/SocketProvider';
import type { Reloaded } from '../link/answers';
import { Act } from '../parts/Act';
import { Missing } from '../parts/Answered';
import { Badge } from '../parts/Badge';
import { Part } from '../parts/Page';
import { Table } from '../parts/Table';

export function Reload({ reloaded }: { reloaded: () => void }) {
  const { api } = useLink();
  const [found, setFound] = useState<Reloaded>();
  const [why, setWhy] = useState<string>();
  const compare = async () => {
    const difference = await api.send<Reloaded>('POST', ours(['routes', 'reload'], { dry: true }));
    setFound(difference);
    setWhy(undefined);
    return difference.changed ? 'The files say something else than the nodes do.' : 'The files say what the nodes do.';
  };
  const reload = async () => {
    const done = await api.send<Reloaded>('POST', ours(['routes', 'reload'], { dry: false }));
    reloaded();
    const kept = done.nodes.filter((node) => node.error !== null);
    try {
      await compare();
    } catch (error) {
      setWhy(explain(error));
    }
    if (kept.length > 0)
      throw new Error(`${kept.map((node) => node.node).join(', ')} keeps what it has: ${kept[0]?.error ?? ''}`);
    return done.missing === 0 ? 'All nodes go by the new table.' : `${several(done.missing, 'node')} did not answer.`;
  };
  const broken = found?.nodes.some((node) => node.error !== null) ?? false;
  return (
    <Part title="Reload" beside={<Act label="Compare with the files" run={compare} />}>
      {why === undefined ? null : <p className="notice bad">{why}</p>}
      {found === undefined ? (
        <p className="hint">
          What the files of each node say now is compared with what it does. Nothing is changed by that.
        </p>
      ) : (
        <>
          <Missing nodes={found.missing} />
          <Difference found={found} />
          <Table
            caption="What each node says"
            columns={[
              { title: 'Node', cell: (node) => node.node },
              { title: 'Files', cell: (node) => state(node) },
              { title: 'Why', cell: (node) => node.error ?? '–' },
            ]}
            rows={found.nodes}
            keyOf={(node) => node.node}
            empty="No node answered."
          />
          {found.changed ? (
            <Act
              label="Reload on all nodes"
              blocked={broken ? 'The files of a node have mistakes.' : undefined}
              run={reload}
              ask={{
                title: 'Reload the routes?',
                text: `${several(found.added.length, 'line')} more and ${several(found.removed.length, 'line')} fewer, on ${several(found.nodes.length, 'node')}. Sessions stay, and events that are on their way finish by the old table.`,
                verb: 'Reload',
              }}
            />
          ) : null}
        </>
      )}
    </Part>
  );
}

function state(node: Reloaded['nodes'][number]) {
  if (node.error !== null) return <Badge tone="bad">mistaken</Badge>;
  return node.changed ? <Badge tone="warn">changed</Badge> : <Badge tone="plain">the same</Badge>;
}

function Difference({ found }: { found: Reloaded }) {
  if (!found.changed) return <p className="empty">The files say what the nodes do.</p>;
  return (
    <ul className="difference" aria-label="Difference">
      {found.removed.map((line) => (
        <li key={`-${line}`} className="removed">
          <span className="unseen">goes: </span>
          <code>{line}</code>
        </li>
      ))}
      {found.added.map((line) => (
        <li key={`+${line}`} className="added">
          <span className="unseen">comes: </span>
          <code>{line}</code>
        </li>
      ))}
    </ul>
  );
}
