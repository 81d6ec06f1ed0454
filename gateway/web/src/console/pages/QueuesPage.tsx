// The queues of jobs, and how many jobs each has of which state.

import { count } from '../format';
import { theirs } from '../link/api';
import { useLink } from '../link/SocketProvider';
import { useAsk } from '../link/useAsk';
import type { Queue } from '../link/answers';
import { Act } from '../parts/Act';
import { Again, Answered } from '../parts/Answered';
import { Badge } from '../parts/Badge';
import { Page } from '../parts/Page';
import { Table } from '../parts/Table';
import { address, type Place } from '../routing';
import { QueuePage } from './QueuePage';
import { STATES } from './states';

export function QueuesPage({ place }: { place: Place }) {
  return place.of === undefined ? <All /> : <QueuePage queue={place.of} state={place.by['state'] ?? 'failed'} />;
}

function All() {
  const asked = useAsk<{ queues: Queue[] }>(theirs(['queues']));
  return (
    <Page title="Jobs" beside={<Again asked={asked} />}>
      <Answered asked={asked}>
        {({ queues }) => (
          <Table
            caption="Queues"
            columns={[
              { title: 'Queue', cell: (queue) => <a href={address('queues', queue.name)}>{queue.name}</a> },
              {
                title: 'State',
                cell: (queue) => (
                  <Badge tone={queue.paused ? 'warn' : 'good'}>{queue.paused ? 'paused' : 'goes on'}</Badge>
                ),
              },
              ...STATES.map((state) => ({
                title: state,
                figure: true,
                cell: (queue: Queue) => <a href={address('queues', queue.name, { state })}>{count(queue[state])}</a>,
              })),
              { title: 'At a time', figure: true, cell: (queue) => count(queue.concurrency) },
              { title: 'Do', cell: (queue) => <Pause queue={queue} done={asked.again} /> },
            ]}
            rows={queues}
            keyOf={(queue) => queue.name}
            empty="There are no queues."
          />
        )}
      </Answered>
    </Page>
  );
}

export function Pause({ queue: { name, paused }, done }: { queue: Queue; done: () => void }) {
  const { api } = useLink();
  const turn = async () => {
    await api.send('POST', theirs(['queues', name, paused ? 'resume' : 'pause']));
    done();
    return paused ? `${name} goes on.` : `${name} is paused.`;
  };
  if (paused) return <Act label="Resume" of={name} run={turn} />;
  return (
    <Act
      label="Pause"
      of={name}
      run={turn}
      ask={{
        title: `Pause ${name}?`,
        text: 'No node begins any of its jobs until it is resumed. What runs goes on.',
        verb: 'Pause it',
      }}
    />
  );
}
