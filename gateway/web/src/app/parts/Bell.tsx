// The bell: what the user was told, on whatever device it is read.

import { useEffect, useState } from 'react';

import { Dialog } from '../../shared/Dialog';
import { because } from '../connection/words';
import type { Notice } from '../notices/notices';
import { useNotices, useNoticeState } from '../notices/NoticesProvider';
import { linkTo } from '../talks/places';
import { useActive, useTalkState } from '../talks/TalksProvider';

export function Bell() {
  const notices = useNotices();
  const { notices: all, unread, more, refusal } = useNoticeState();
  const [isOpen, open] = useState(false);
  useReadInTalk(all);
  return (
    <>
      <button className="plain bell" onClick={() => open(true)} aria-haspopup="dialog" aria-label={`Notifications, ${unread} unread`}>
        <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
          <path d="M12 3a6 6 0 0 0-6 6v4l-2 4h16l-2-4V9a6 6 0 0 0-6-6zM9.5 19a2.5 2.5 0 0 0 5 0" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinejoin="round" />
        </svg>
        {unread > 0 && <span className="count">{unread}</span>}
      </button>
      <Dialog label="Notifications" isOpen={isOpen} onClose={() => open(false)}>
        {unread > 0 && <button onClick={() => notices.read({ all: true })}>Mark all as read</button>}
        {refusal && <p className="empty">{because(refusal)}.</p>}
        {!refusal && all.length === 0 && <p className="empty">You were told nothing yet.</p>}
        <ul className="notices">
          {all.map((notice) => (
            <li key={notice.id} className={notice.isRead ? 'read' : 'unread'}>
              <NoticeText notice={notice} onChosen={() => open(false)} />
              {!notice.isRead && <button className="plain" onClick={() => notices.read({ id: notice.id })}>Mark as read</button>}
            </li>
          ))}
        </ul>
        {more && <button onClick={() => void notices.older()}>Older</button>}
      </Dialog>
    </>
  );
}

function NoticeText({ notice, onChosen }: { notice: Notice; onChosen: () => void }) {
  const text = typeof notice.message === 'string' ? notice.message : JSON.stringify(notice.message);
  const from = sender(notice);
  return (
    <div>
      <p dir="auto">{!notice.isRead && <span className="hidden">Unread: </span>}{text}</p>
      <p className="faint">
        <time dateTime={notice.timestamp}>{new Date(notice.timestamp).toLocaleString()}</time>
        {from !== null && <> · <a href={linkTo('direct', from)} onClick={onChosen}>Answer</a></>}
      </p>
    </div>
  );
}

/** Whose private message it is about. */
function sender({ data }: Notice): string | null {
  return data !== null && typeof data === 'object' && 'from' in data && typeof data.from === 'string' ? data.from : null;
}

/** Who has the private talk open reads what it says there. */
function useReadInTalk(all: readonly Notice[]): void {
  const notices = useNotices();
  const active = useActive();
  const { watched } = useTalkState();
  const user = watched && active?.kind === 'direct' ? active.name : null;
  useEffect(() => {
    if (user === null) return;
    for (const notice of all) if (!notice.isRead && sender(notice) === user) notices.read({ id: notice.id });
  }, [all, notices, user]);
}
