// What is done by the clock: when next, and how it went the last times.

import { duration, moment } from '../format';
import { theirs } from '../link/api';
import { useAsk } from '../link/useAsk';
import type { Schedule } from '../link/answers';
import { Again, Answered } from '../parts/Answered';
import { Badge } from '../parts/Badge';
import { Page, Part } from '../parts/Page';
import { Facts, Table } from '../parts/Table';
import { address } from '../routing';

export function SchedulesPage() {
  const asked = useAsk<{ schedules: Schedule[] }>(theirs(['schedules']));
  return (
    <Page title="Schedules" beside={<Again asked={asked} />}>
      <Answered asked={asked}>
        {({ schedules }) =>
          schedules.length === 0 ? (
            <p className="empty">The configuration has no schedules.</p>
          ) : (
            schedules.map((schedule) => <One key={schedule.name} schedule={schedule} />)
          )
        }
      </Answered>
    </Page>
  );
}

function One({ schedule }: { schedule: Schedule }) {
  return (
    <Part title={schedule.name}>
      <Facts
        facts={[
          ['when', <code>{schedule.cron}</code>],
          ['by the clock of', schedule.timezone],
          ['does', schedule.kind],
          ['in the queue', <a href={address('queues', schedule.queue)}>{schedule.queue}</a>],
          ['next', moment(schedule.next)],
        ]}
      />
      <Table
        caption={`Last runs of ${schedule.name}`}
        columns={[
          { title: 'For', cell: (run) => moment(run.tick) },
          { title: 'Came of it', cell: (run) => <Outcome run={run} /> },
          { title: 'Node', cell: (run) => run.node },
          { title: 'Begun', cell: (run) => moment(run.begunAt) },
          { title: 'Took', figure: true, cell: (run) => duration(run.tookMs / 1000) },
          { title: 'Attempt', figure: true, cell: (run) => run.attempt },
          { title: 'Why', cell: (run) => run.failed ?? '–' },
        ]}
        rows={schedule.runs}
        keyOf={(run) => `${run.tick} ${run.node} ${run.attempt} ${run.begunAt}`}
        empty="It has not run yet."
      />
    </Part>
  );
}

function Outcome({ run }: { run: Schedule['runs'][number] }) {
  if (run.failed === undefined) return <Badge tone="good">done</Badge>;
  return run.last ? <Badge tone="bad">failed</Badge> : <Badge tone="warn">failed, tried again</Badge>;
}
