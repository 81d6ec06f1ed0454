// What routes refused since the console is open, by code and route.

import { count, moment, several } from '../format';
import { useLive } from '../link/useLive';
import { byCode, ranked } from '../live/refusals';
import { Chart, type Line } from '../parts/Chart';
import { perSecond } from '../format';
import { Page, Part } from '../parts/Page';
import { Table } from '../parts/Table';

const REFUSED: readonly Line[] = [{ key: 'refused', label: 'all nodes', colour: 3 }];
/** More than that nobody reads. */
const SHOWN = 100;

export function RefusalsPage() {
  const tallies = useLive((live) => live.tallies);
  const samples = useLive((live) => live.samples);
  const codes = byCode(tallies);
  const most = codes[0]?.[1] ?? 1;
  const kinds = ranked(tallies);
  return (
    <Page title="Refusals">
      <p className="hint">As nodes tell them, since this console is open. Nothing was counted for it before.</p>
      <Chart title="Refused" lines={REFUSED} samples={samples} write={perSecond} />
      <Part title="By code">
        <Table
          caption="Refusals by code"
          columns={[
            { title: 'Code', cell: ([code]) => <code>{code}</code> },
            { title: 'Refused', figure: true, cell: ([, times]) => count(times) },
            {
              title: 'Share',
              cell: ([code, times]) => (
                <meter min={0} max={most} value={times} aria-label={`${code} beside the most frequent`} />
              ),
            },
          ]}
          rows={codes}
          keyOf={([code]) => code}
          empty="Nothing was refused."
        />
      </Part>
      <Part title="By route">
        <Table
          caption="Refusals by route"
          columns={[
            { title: 'Event', cell: (kind) => (kind.event === '' ? 'one without a route' : <bdi>{kind.event}</bdi>) },
            { title: 'Namespace', cell: (kind) => kind.namespace },
            { title: 'Action', cell: (kind) => kind.action },
            { title: 'Where', cell: (kind) => <code>{kind.place}</code> },
            { title: 'Code', cell: (kind) => <code>{kind.code}</code> },
            { title: 'Refused', figure: true, cell: (kind) => count(kind.count) },
            { title: 'Last', figure: true, cell: (kind) => moment(kind.lastAt) },
            { title: 'By', cell: (kind) => kind.nodes.join(', ') },
          ]}
          rows={kinds.slice(0, SHOWN)}
          keyOf={(kind) => kind.key}
          empty="Nothing was refused."
        />
        {kinds.length > SHOWN ? <p className="hint">{several(kinds.length - SHOWN, 'rarer kind')} left out.</p> : null}
      </Part>
    </Page>
  );
}
