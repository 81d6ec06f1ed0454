// The compiled table of routes: what it is, what it would do with an event, and what the files say by now.

import { ours } from '../link/api';
import { useAsk } from '../link/useAsk';
import type { Routes } from '../link/answers';
import { Again, Answered } from '../parts/Answered';
import { Field } from '../parts/Field';
import { Page, Part } from '../parts/Page';
import { Table } from '../parts/Table';
import { useSearch } from '../parts/useSearch';
import type { Place } from '../routing';
import { Reload } from './Reload';
import { TryIt } from './TryIt';

export function RoutesPage({ place }: { place: Place }) {
  const asked = useAsk<Routes>(ours(['routes']));
  const { text, setText, search } = useSearch(place, 'search');
  return (
    <Page title="Routes" beside={<Again asked={asked} />}>
      <TryIt />
      <Reload reloaded={asked.again} />
      <Part title="The table">
        <Answered asked={asked}>
          {(table) => (
            <>
              <p className="hint">{from(table)}</p>
              <search>
                <Field label="Show routes with" type="search" value={text} change={setText} placeholder="publish" />
              </search>
              <Table
                caption="Routes, in the order in which they are asked"
                columns={[
                  { title: 'No.', figure: true, cell: (route) => route.number },
                  { title: 'Event', cell: (route) => <bdi>{route.event}</bdi> },
                  { title: 'Namespace', cell: (route) => route.namespace },
                  { title: 'Action', cell: (route) => route.action },
                  { title: 'All of it', cell: (route) => <code className="long">{route.line}</code> },
                  { title: 'Where', cell: (route) => <code>{route.place}</code> },
                ]}
                rows={table.routes.filter(
                  (route) => search === '' || route.line.includes(search) || route.place.includes(search),
                )}
                keyOf={(route) => String(route.number)}
                empty="No route is as you search."
              />
            </>
          )}
        </Answered>
      </Part>
    </Page>
  );
}

function from({ node, profile, file }: Routes): string {
  const parts = [
    profile === null || profile === '' ? '' : `the profile ${profile}`,
    file === null || file === '' ? '' : `the file ${file}`,
  ];
  return `As ${node} compiled it from ${parts.filter((part) => part !== '').join(' and ') || 'what is built in'}.`;
}
