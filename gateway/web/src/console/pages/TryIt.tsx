// Which route an event would take, and why it would be refused. Nothing is done.

import { useId, useState } from 'react';

import { explain, ours } from '../link/api';
import { useLink } from '../link/SocketProvider';
import type { Tried } from '../link/answers';
import { Badge, type Tone } from '../parts/Badge';
import { Field } from '../parts/Field';
import { Part } from '../parts/Page';
import { Table } from '../parts/Table';
import { readWish, type Wish } from './wish';

const FIRST: Wish = {
  namespace: '/',
  event: 'publish',
  args: '{"room": "lobby", "data": "hello"}',
  user: '',
  roles: '',
  rooms: 'lobby',
};

export function TryIt() {
  const { api } = useLink();
  const [wish, setWish] = useState(FIRST);
  const [tried, setTried] = useState<Tried>();
  const [why, setWhy] = useState<string>();
  const problem = useId();
  const set = (field: keyof Wish) => (value: string) => setWish((before) => ({ ...before, [field]: value }));
  const tryIt = async () => {
    const body = readWish(wish);
    if (typeof body === 'string') {
      setWhy(body);
      return;
    }
    try {
      setTried(await api.send<Tried>('POST', ours(['routes', 'try']), body));
      setWhy(undefined);
    } catch (error) {
      setWhy(explain(error));
    }
  };
  return (
    <Part title="Try it">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void tryIt();
        }}
      >
        <div className="fields">
          <Field label="Event" value={wish.event} change={set('event')} required />
          <Field label="Namespace" value={wish.namespace} change={set('namespace')} />
          <Field label="User" value={wish.user} change={set('user')} placeholder="nobody in particular" />
          <Field label="Roles" value={wish.roles} change={set('roles')} placeholder="admin, editor" />
          <Field label="In the rooms" value={wish.rooms} change={set('rooms')} placeholder="lobby, news" />
        </div>
        <Field
          label="Arguments, as JSON: one value, or several separated by commas"
          value={wish.args}
          change={set('args')}
          lines={3}
          invalid={why !== undefined}
          describedBy={problem}
        />
        <div className="row">
          <button type="submit" className="primary">
            Try it
          </button>
          <span className="hint">Nothing is done, and no back end is asked.</span>
        </div>
        <p id={problem} role="alert" className="bad">
          {why}
        </p>
      </form>
      <div aria-live="polite">{tried === undefined ? null : <Verdict tried={tried} />}</div>
    </Part>
  );
}

const TONES: Record<string, Tone> = { runs: 'good', refused: 'bad', skipped: 'plain' };

function Verdict({ tried }: { tried: Tried }) {
  const runs = tried.routes.filter((route) => route.verdict === 'runs');
  return (
    <div className="verdict">
      <p>
        {tried.answer !== null ? (
          <>
            <Badge tone="bad">refused</Badge> <code>{tried.answer.code}</code>: {tried.answer.message}
          </>
        ) : tried.known ? (
          <>
            <Badge tone="good">taken</Badge> {runs.length === 1 ? 'One route runs.' : `${runs.length} routes run.`}
          </>
        ) : (
          <>
            <Badge tone="bad">unknown</Badge> No route is for this event.
          </>
        )}
      </p>
      <Table
        caption="What each route does with the event"
        columns={[
          { title: 'No.', figure: true, cell: (route) => route.number },
          { title: 'Verdict', cell: (route) => <Badge tone={TONES[route.verdict] ?? 'plain'}>{route.verdict}</Badge> },
          { title: 'Why', cell: (route) => (route.code === undefined ? '–' : `${route.code}: ${route.message ?? ''}`) },
          { title: 'Room', cell: (route) => <bdi>{route.room ?? '–'}</bdi> },
          { title: 'Route', cell: (route) => <code className="long">{route.line}</code> },
          { title: 'Where', cell: (route) => <code>{route.place}</code> },
        ]}
        rows={tried.routes}
        keyOf={(route) => String(route.number)}
        empty="No route is for this event."
      />
    </div>
  );
}
