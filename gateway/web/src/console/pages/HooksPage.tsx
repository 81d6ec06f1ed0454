// What back ends are told, whether they take it, and how far behind the archive is.

import { bytes, count, duration, moment, several } from '../format';
import { useLink } from '../link/SocketProvider';
import { useAskEvery } from '../link/useAsk';
import type { Hook } from '../link/answers';
import { Act } from '../parts/Act';
import { Again, Answered } from '../parts/Answered';
import { Badge } from '../parts/Badge';
import { Page, Part } from '../parts/Page';
import { Facts, Table } from '../parts/Table';
import { FiguresPart } from './FiguresPart';

/** No event tells how hooks stand, so it is asked for while one looks. */
const EVERY_MS = 5_000;

export function HooksPage() {
  const asked = useAskEvery<{ hooks: Hook[] }>(EVERY_MS, '/hooks');
  return (
    <Page title="Hooks and archive" beside={<Again asked={asked} />}>
      <FiguresPart every={EVERY_MS} />
      <Answered asked={asked}>
        {({ hooks }) => (
          <>
            {hooks.length === 0 ? (
              <p className="empty">The configuration has no hooks, and nothing waits for one.</p>
            ) : null}
            {hooks.map((hook) => (
              <One key={hook.name} hook={hook} done={asked.again} />
            ))}
          </>
        )}
      </Answered>
    </Page>
  );
}

function One({ hook, done }: { hook: Hook; done: () => void }) {
  return (
    <Part title={`Hook ${hook.name}`} beside={<State hook={hook} />}>
      <Facts
        facts={[
          ['leads to', hook.url === undefined ? 'nowhere: it is gone from the configuration' : <code>{hook.url}</code>],
          ['works on it', hook.here ? 'this node' : 'another node'],
          ['waiting', `${several(hook.waiting, 'event')}, ${bytes(hook.bytes)}`],
          ['oldest', hook.oldestMs === undefined ? '–' : duration(hook.oldestMs / 1000)],
          ['dropped', count(hook.dropped)],
          ['given up', count(hook.givenUp)],
        ]}
      />
      {hook.givenUp === 0 ? null : <GivenUp hook={hook} done={done} />}
    </Part>
  );
}

function State({ hook }: { hook: Hook }) {
  if (hook.givenUp > 0) return <Badge tone="bad">some was given up</Badge>;
  return (hook.oldestMs ?? 0) > 60_000 ? <Badge tone="warn">late</Badge> : <Badge tone="good">in time</Badge>;
}

function GivenUp({ hook, done }: { hook: Hook; done: () => void }) {
  const { api } = useLink();
  const decide = (what: 'retry' | 'drop') => async () => {
    const { events } = await api.send<{ events: number }>('POST', `/hooks/${encodeURIComponent(hook.name)}/${what}`);
    done();
    return `${several(events, 'event')} ${what === 'retry' ? 'told after all' : 'forgotten'}.`;
  };
  return (
    <>
      <div className="row">
        <Act label="Tell it after all" of={hook.name} run={decide('retry')} />
        <Act
          label="Forget it"
          of={hook.name}
          run={decide('drop')}
          ask={{
            title: 'Forget what was given up?',
            text: `${several(hook.givenUp, 'event')} of ${hook.name} are gone for good.`,
            verb: 'Forget',
          }}
        />
      </div>
      <Table
        caption={`The oldest that were given up for ${hook.name}`}
        columns={[
          { title: 'When', cell: (one) => moment(one.time) },
          { title: 'What', cell: (one) => one.type ?? '–' },
          { title: 'Room', cell: (one) => <bdi>{one.room ?? '–'}</bdi> },
          { title: 'Why', cell: (one) => <span className="words">{one.why}</span> },
          { title: 'Id', cell: (one) => <code>{one.id}</code> },
        ]}
        rows={hook.refused}
        keyOf={(one) => one.id}
        empty="Nothing is listed."
      />
    </>
  );
}
