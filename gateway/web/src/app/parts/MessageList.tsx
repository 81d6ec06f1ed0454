// What was said, newest at the bottom; of thousands of messages only those in sight are drawn.

import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { Virtualizer } from 'virtua';

import { nameOf } from '../identity';
import type { Entry } from '../talks/entries';
import { isMine, type Talk } from '../talks/state';
import { useTalks, useTalkState } from '../talks/TalksProvider';
import { EntryRow } from './EntryRow';
import { PendingRow } from './PendingRow';

/** So near an end counts as there. */
const NEAR_PX = 80;
const OLDER_PX = 600;

const keyOf = ({ kind, offset }: Entry): string => `${kind}${offset}`;

export function MessageList({ talk }: { talk: Talk }) {
  const talks = useTalks();
  const state = useTalkState();
  const scroller = useRef<HTMLDivElement>(null);
  const { entries, pending } = talk;
  const grewAbove = useGrewAbove(entries);
  const count = entries.length + pending.length;

  const end = useEnd(scroller, count);

  const scrolled = (offset: number) => {
    const element = scroller.current;
    if (!element) return;
    end.scrolled(offset);
    if (offset < OLDER_PX) void talks.older(talk.key);
  };
  // A first page that does not fill the screen cannot be scrolled.
  useEffect(() => {
    const element = scroller.current;
    if (element && talk.older === 'some' && element.scrollHeight <= element.clientHeight + OLDER_PX) void talks.older(talk.key);
  }, [talks, talk.key, talk.older, entries.length]);

  const isRoom = talk.kind === 'room';
  return (
    <div className="messages-frame">
      <div ref={scroller} className="messages" tabIndex={0} role="group" aria-label={`Messages in ${nameOf(talk.name)}`}>
        {count === 0 && talk.older === 'none' && <p className="empty">{isRoom ? 'Nothing was said here yet.' : 'Say something to them alone.'}</p>}
        <Virtualizer scrollRef={scroller} shift={grewAbove} onScroll={scrolled} as="ol" item="li" bufferSize={400}>
          {entries.map((entry, index) => (
            <EntryRow key={keyOf(entry)} entry={entry} before={entries[index - 1]} isMine={entry.kind === 'message' && isMine(state, entry)} />
          ))}
          {pending.map((one) => <PendingRow key={one.id} pending={one} onAgain={() => talks.sayAgain(talk.key, one)} />)}
        </Virtualizer>
      </div>
      {!end.isThere && <button className="to-end" onClick={end.go}>Newest ↓</button>}
    </div>
  );
}

/** The end of the list. Whoever is there stays there, whatever comes and however high it turns out to be. */
function useEnd(scroller: RefObject<HTMLDivElement | null>, count: number) {
  const [isThere, setThere] = useState(true);
  // What the observer sees at once: where the list was when it was scrolled last, or its end if that has come nearer since.
  const now = useRef({ isThere: true, offset: 0 });
  const go = () => scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  useLayoutEffect(() => {
    if (isThere) scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  }, [scroller, count, isThere]);
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      // Rows that turn out lower take the list with them, and nobody goes up.
      now.current.offset = Math.min(now.current.offset, element.scrollHeight - element.clientHeight);
      if (now.current.isThere) element.scrollTo({ top: element.scrollHeight });
    });
    for (const observed of [element, element.querySelector('ol')]) if (observed) observer.observe(observed);
    return () => observer.disconnect();
  }, [scroller]);
  const scrolled = (offset: number) => {
    const element = scroller.current;
    if (!element) return;
    // Only who goes up leaves it: when much comes at once, the list is longer for a moment before it is scrolled.
    const isNear = element.scrollHeight - element.clientHeight - offset < NEAR_PX;
    if (isNear || offset < now.current.offset - 1) {
      now.current.isThere = isNear;
      setThere(isNear);
    }
    now.current.offset = offset;
  };
  return { isThere, go, scrolled };
}

/** Whether what came since the last time stands above all that was there: then what is in sight stays where it is. */
function useGrewAbove(entries: readonly Entry[]): boolean {
  const ends = { first: entries[0]?.offset, last: entries.at(-1)?.offset };
  const [before, setBefore] = useState({ ...ends, grewAbove: false });
  if (before.first === ends.first && before.last === ends.last) return before.grewAbove;
  const grewAbove = before.first !== ends.first && before.last === ends.last;
  setBefore({ ...ends, grewAbove });
  return grewAbove;
}
