// What a node knows of itself: settings that put data at risk, and the conditions of alerts.

import { ours } from '../link/api';
import { useAskEvery } from '../link/useAsk';
import type { Check, Health } from '../link/answers';
import { Again, Answered } from '../parts/Answered';
import { Badge } from '../parts/Badge';
import { Page } from '../parts/Page';
import { Table } from '../parts/Table';

/** Nothing tells when a condition comes true, so it is asked for while one looks. */
const EVERY_MS = 10_000;

export function HealthPage() {
  const asked = useAskEvery<Health>(EVERY_MS, ours(['health']));
  return (
    <Page title="Health" beside={<Again asked={asked} />}>
      <Answered asked={asked}>
        {({ node, ok, checks }) => (
          <>
            <p role="status" className={ok ? 'notice good' : 'notice bad'}>
              {ok ? `Nothing is wrong with ${node}.` : `Something is wrong with ${node}.`}
            </p>
            <Table
              caption={`Checks of ${node}`}
              columns={[
                { title: 'Is', cell: (check) => <Verdict check={check} /> },
                { title: 'Check', cell: (check) => check.name },
                { title: 'It would be wrong that', cell: (check) => <span className="words">{check.words}</span> },
                { title: 'Now', figure: true, cell: (check) => figure(check.value) },
                { title: 'Limit', figure: true, cell: (check) => figure(check.limit) },
              ]}
              rows={[...checks].sort((one, other) => Number(one.ok) - Number(other.ok))}
              keyOf={(check) => check.name}
              empty="It checks nothing."
            />
          </>
        )}
      </Answered>
    </Page>
  );
}

function Verdict({ check }: { check: Check }) {
  if (check.ok) return <Badge tone="good">well</Badge>;
  return <Badge tone={check.severity === 'warning' ? 'warn' : 'bad'}>{check.severity}</Badge>;
}

function figure(value: Check['value']): string {
  if (value === null) return '–';
  return typeof value === 'number' ? String(Math.round(value * 1000) / 1000) : String(value);
}
