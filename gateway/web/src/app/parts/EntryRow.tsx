// One message, or a place where some may be missing.

import { memo } from 'react';

import { gapWords } from '../connection/words';
import { nameOf } from '../identity';
import type { Entry, Message } from '../talks/entries';
import { Picture } from './Picture';

/** What one person says within this time stands under one name. */
const TOGETHER_MS = 5 * 60_000;

interface Props {
  entry: Entry;
  before: Entry | undefined;
  isMine: boolean;
}

export const EntryRow = memo(function EntryRow({ entry, before, isMine }: Props) {
  if (entry.kind === 'gap') return <p className="gap">{gapWords(entry.reason)}</p>;
  const isFirst = !before || !belongsTo(before, entry);
  return (
    <article className={`message${isMine ? ' mine' : ''}${isFirst ? ' first' : ''}`}>
      {isFirst && (
        <p className="by">
          <bdi className="name">{isMine ? 'You' : nameOf(entry.user)}</bdi> <time dateTime={new Date(entry.at).toISOString()}>{clock(entry.at)}</time>
        </p>
      )}
      {!isFirst && <span className="hidden">{isMine ? 'You' : nameOf(entry.user)}: </span>}
      {entry.event !== null && <span className="event">{entry.event}</span>}
      {entry.said.text !== '' && <p className="text" dir="auto">{entry.said.text}</p>}
      {entry.said.image && <Picture image={entry.said.image} by={nameOf(entry.user)} />}
    </article>
  );
});

const belongsTo = (before: Entry, entry: Message): boolean =>
  before.kind === 'message' && before.user === entry.user && entry.user !== null && entry.at - before.at < TOGETHER_MS;

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

function clock(at: number): string {
  const isToday = new Date(at).toDateString() === new Date().toDateString();
  return (isToday ? CLOCK : DAY).format(at);
}
