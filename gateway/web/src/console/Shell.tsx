// What is around every page: where one can go, whether figures are live, and who one is.

import type { ComponentType } from 'react';

import { useLink } from './link/SocketProvider';
import { Badge } from './parts/Badge';
import { Broken } from './parts/Broken';
import { ClusterPage } from './pages/ClusterPage';
import { HealthPage } from './pages/HealthPage';
import { HooksPage } from './pages/HooksPage';
import { NotificationsPage } from './pages/NotificationsPage';
import { QueuesPage } from './pages/QueuesPage';
import { RefusalsPage } from './pages/RefusalsPage';
import { RoomsPage } from './pages/RoomsPage';
import { RoutesPage } from './pages/RoutesPage';
import { SchedulesPage } from './pages/SchedulesPage';
import { SessionsPage } from './pages/SessionsPage';
import { address, PAGES, usePlace, type PageName, type Place } from './routing';

type Shown = ComponentType<{ place: Place }>;

const TITLES: Record<PageName, string> = {
  cluster: 'Cluster',
  sessions: 'Sessions',
  rooms: 'Rooms',
  refusals: 'Refusals',
  routes: 'Routes',
  queues: 'Jobs',
  schedules: 'Schedules',
  notifications: 'Notifications',
  hooks: 'Hooks and archive',
  health: 'Health',
};

const SHOWN: Record<PageName, Shown> = {
  cluster: ClusterPage,
  sessions: SessionsPage,
  rooms: RoomsPage,
  refusals: RefusalsPage,
  routes: RoutesPage,
  queues: QueuesPage,
  schedules: SchedulesPage,
  notifications: NotificationsPage,
  hooks: HooksPage,
  health: HealthPage,
};

export function Shell() {
  const place = usePlace();
  const Page = SHOWN[place.page];
  return (
    <>
      <a className="skip" href="#content" onClick={toContent}>
        To the content
      </a>
      <Header />
      <div className="frame">
        <nav aria-label="Pages">
          <ul>
            {PAGES.map((page) => (
              <li key={page}>
                <a href={address(page)} aria-current={page === place.page ? 'page' : undefined}>
                  {TITLES[page]}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <main id="content" tabIndex={-1}>
          <Broken key={`${place.page}/${place.of ?? ''}`}>
            <Page place={place} />
          </Broken>
        </main>
      </div>
    </>
  );
}

function Header() {
  const { config, isLive, signOut } = useLink();
  return (
    <header className="top">
      <p className="name">
        <a href={address('cluster')}>Gateway console</a>
      </p>
      <p role="status" className="row">
        {isLive ? <Badge tone="good">live</Badge> : <Badge tone="bad">not connected, trying again</Badge>}
        <span className="wide">by {config.node}</span>
        {config.role === 'viewer' ? <Badge tone="plain">viewer</Badge> : null}
      </p>
      <button type="button" onClick={signOut}>
        Sign out
      </button>
    </header>
  );
}

/** The address behind the # is the page's: the link moves the focus and leaves the address. */
function toContent(event: { preventDefault: () => void }) {
  event.preventDefault();
  document.getElementById('content')?.focus();
}
