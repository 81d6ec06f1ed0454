// The rooms and the people that are talked to, with what is unread there.

import { type SubmitEvent, useId, useState } from 'react';

import { nameOf } from '../identity';
import { linkTo } from '../talks/places';
import type { Talk } from '../talks/state';
import { useTalks, useTalkState } from '../talks/TalksProvider';

export function TalkList({ onChosen }: { onChosen: () => void }) {
  const talks = useTalks();
  const { talks: all, active } = useTalkState();
  const [name, setName] = useState('');
  const field = useId();
  const join = (event: SubmitEvent) => {
    event.preventDefault();
    const room = name.trim();
    if (room === '') return;
    talks.activate(talks.open('room', room));
    setName('');
    onChosen();
  };
  const of = (kind: Talk['kind']) => Object.values(all).filter((talk) => talk.kind === kind);
  const list = (kind: Talk['kind']) => (
    <ul className="talks">
      {of(kind).map((talk) => (
        <li key={talk.key}>
          <a href={linkTo(kind, talk.name)} aria-current={talk.key === active ? 'page' : undefined} onClick={onChosen}>
            <bdi>{nameOf(talk.name)}</bdi>
            {talk.unread > 0 && <span className="count">{talk.unread}<span className="hidden"> unread</span></span>}
          </a>
          <button className="plain" onClick={() => talks.close(talk.key)} aria-label={`Leave ${nameOf(talk.name)}`}>✕</button>
        </li>
      ))}
    </ul>
  );
  return (
    <>
      <h2>Rooms</h2>
      {list('room')}
      <form onSubmit={join} className="join">
        <label htmlFor={field} className="hidden">Join a room</label>
        <input id={field} value={name} onChange={({ target }) => setName(target.value)} placeholder="Another room" maxLength={80} dir="auto" autoComplete="off" />
        <button>Join</button>
      </form>
      {of('direct').length > 0 && <h2>Private</h2>}
      {list('direct')}
    </>
  );
}
