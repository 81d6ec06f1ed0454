// The jobs of a queue that are in one state, and what can be done about them.

import { theirs } from '../link/api';
import { useLink, useRole } from '../link/SocketProvider';
import { usePages } from '../link/usePages';
import type { Job } from '../link/answers';
import { Act, VIEWER } from '../parts/Act';
import { Page } from '../parts/Page';
import { Facts } from '../parts/Table';
import { json } from '../parts/words';
import { moment, several } from '../format';
import { address } from '../routing';
import { STATES } from './states';

interface Jobs {
  jobs: Job[];
  next?: string;
}

const NONE: Jobs = { jobs: [] };
/** A job that changes its state between two pages may be on both. */
function appended(list: Jobs, page: Jobs): Jobs {
  const known = new Set(list.jobs.map((job) => job.id));
  return { ...page, jobs: [...list.jobs, ...page.jobs.filter((job) => !known.has(job.id))] };
}

export function QueuePage(of: { queue: string; state: string }) {
  if (useRole() === 'operator') return <InState {...of} />;
  return (
    <Page title={`Queue ${of.queue}`}>
      <p className="notice warn">What jobs are about is not for viewers. {VIEWER}</p>
    </Page>
  );
}

function InState({ queue, state }: { queue: string; state: string }) {
  const at = (after: string | undefined) => theirs(['jobs'], { queue, state, after, limit: 50 });
  const { list, why, busy, more, again } = usePages<Jobs, Jobs>({ at, empty: NONE, appended });
  return (
    <Page
      title={`Queue ${queue}`}
      beside={
        <button type="button" onClick={again}>
          Refresh
        </button>
      }
    >
      <p>
        <a href={address('queues')}>All queues</a>
      </p>
      <nav aria-label="States">
        <ul className="tabs">
          {STATES.map((one) => (
            <li key={one}>
              <a href={address('queues', queue, { state: one })} aria-current={one === state ? 'page' : undefined}>
                {one}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      {why === undefined ? null : (
        <p role="alert" className="notice bad">
          {why}
        </p>
      )}
      <p role="status" className="hint">
        {busy ? 'Looking …' : `${several(list.jobs.length, 'job')}${list.next === undefined ? '' : ', and more'}.`}
      </p>
      <ul className="jobs">
        {list.jobs.map((job) => (
          <OneJob key={job.id} job={job} done={again} />
        ))}
      </ul>
      {list.next === undefined ? null : (
        <button type="button" onClick={more}>
          More
        </button>
      )}
    </Page>
  );
}

function OneJob({ job, done }: { job: Job; done: () => void }) {
  const { api } = useLink();
  const { id, queue, state } = job;
  const retry = async () => {
    await api.send('POST', theirs(['jobs', id, 'retry'], { queue }));
    done();
    return `${id} is done now.`;
  };
  const remove = async () => {
    await api.send('DELETE', theirs(['jobs', id], { queue }));
    done();
    return `${id} is removed.`;
  };
  return (
    <li className="card">
      <article aria-label={`Job ${id}`}>
        <div className="heading">
          <h2 className="id">{id}</h2>
          <div className="row">
            {state === 'active' ? null : <Act label="Do it now" of={id} run={retry} />}
            <Act
              label="Remove"
              of={id}
              blocked={state === 'active' ? 'Somebody does it just now.' : undefined}
              run={remove}
              ask={{
                title: 'Remove this job?',
                text: `${id} of the kind ${job.kind} is gone for good, and nobody does it.`,
                verb: 'Remove it',
              }}
            />
          </div>
        </div>
        <Facts
          facts={[
            ['kind', job.kind],
            [
              'attempts',
              `${job.attempt} of ${job.attempts}${job.lost > 0 ? `, and ${several(job.lost, 'worker')} lost` : ''}`,
            ],
            ['priority', String(job.priority)],
            ['enqueued', moment(job.enqueuedAt)],
            ...(job.dueAt === undefined ? [] : [['due', moment(job.dueAt)] as const]),
            ...(job.begunAt === undefined ? [] : [['begun', moment(job.begunAt)] as const]),
            ...(job.endedAt === undefined ? [] : [['ended', moment(job.endedAt)] as const]),
          ]}
        />
        {job.why === undefined ? null : <p className="notice bad">{job.why}</p>}
        <details>
          <summary>What it is about</summary>
          <pre dir="auto">{json(job.data)}</pre>
          {job.result === undefined || job.result === null ? null : <pre dir="auto">{json(job.result)}</pre>}
        </details>
      </article>
    </li>
  );
}
