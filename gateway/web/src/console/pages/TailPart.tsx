// What a room says, as it says it.

import { useState } from 'react';

import { bytes, moment, several } from '../format';
import { useRole } from '../link/SocketProvider';
import { useTail } from '../link/useTail';
import type { Heard } from '../live/tailed';
import { VIEWER } from '../parts/Act';
import { Tick } from '../parts/Field';
import { Part } from '../parts/Page';
import { Rows } from '../parts/Rows';
import type { Column } from '../parts/Table';

const COLUMNS: readonly Column<Heard>[] = [
  { title: 'At', cell: (event) => moment(event.at) },
  { title: 'Event', width: 8, cell: (event) => <bdi>{event.event}</bdi> },
  { title: 'User', cell: (event) => <bdi>{event.user ?? '–'}</bdi> },
  { title: 'Offset', width: 10, cell: (event) => event.offset ?? 'signal' },
  { title: 'Size', width: 5, figure: true, cell: (event) => bytes(event.bytes) },
  {
    title: 'Payload',
    width: 16,
    cell: (event) => (event.data === undefined ? '–' : <code dir="auto">{JSON.stringify(event.data)}</code>),
  },
];

export function TailPart({ room, namespace }: { room: string; namespace: string }) {
  const [on, setOn] = useState(false);
  const [payloads, setPayloads] = useState(false);
  const role = useRole();
  const tail = useTail({ room, namespace, payloads }, on);
  return (
    <Part
      title="What it says"
      beside={
        <div className="row">
          <button type="button" aria-pressed={on} onClick={() => setOn(!on)}>
            {on ? 'Stop listening' : 'Listen'}
          </button>
          <button type="button" onClick={tail.clear}>
            Clear
          </button>
        </div>
      }
    >
      {role === 'operator' ? (
        <Tick
          label="With payloads, which people may have meant for each other alone"
          value={payloads}
          change={setPayloads}
        />
      ) : (
        <p className="hint">Payloads are not shown. {VIEWER}</p>
      )}
      <p className="hint" role="status">
        {on ? `${several(tail.told, 'event')} told` : 'Not listening. Whoever listens leaves a line in the audit.'}
        {on && tail.leftOut > 0 ? `, ${several(tail.leftOut, 'more', 'more')} were too many to be told` : ''}
        {on ? '.' : ''}
      </p>
      {on && tail.ended !== undefined ? (
        <p role="alert" className="notice warn">
          It ended: {tail.ended}. Stop and listen again.
        </p>
      ) : null}
      {tail.events.length === 0 ? null : (
        <Rows
          caption="What the room says, newest first"
          columns={COLUMNS}
          rows={tail.events}
          keyOf={(event) => String(event.number)}
          empty=""
        />
      )}
    </Part>
  );
}
