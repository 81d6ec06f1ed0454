// Listens to what a room says, for as long as it is wanted, over every connection anew.

import { useEffect, useState } from 'react';

import { NOTHING, told, type Tailed } from '../live/tailed';
import { useLink } from './SocketProvider';
import type { TailEvent } from './wire';

/** How often what came is drawn. */
const DRAW_MS = 100;

type Answer = { ok: true; tail: number } | { ok: false; error: { code: string; message: string } };

export interface TailWish {
  room: string;
  namespace: string;
  payloads: boolean;
}

export function useTail({ room, namespace, payloads }: TailWish, wanted: boolean): Tailed & { clear: () => void } {
  const { socket, isLive, turn } = useLink();
  const [tailed, setTailed] = useState<Tailed>(NOTHING);
  useEffect(() => {
    if (!wanted || !isLive) return;
    let mine: number | undefined;
    let gone = false;
    let waiting: TailEvent[] = [];
    const hear = (event: TailEvent) => {
      if (event.tail === mine) waiting.push(event);
    };
    const miss = (left: { tail: number; count: number }) => {
      if (left.tail === mine) setTailed((before) => ({ ...before, leftOut: before.leftOut + left.count }));
    };
    const end = (ended: { tail: number; reason: string }) => {
      if (ended.tail === mine) setTailed((before) => ({ ...before, ended: ended.reason }));
    };
    socket.on('tail_event', hear).on('tail_left_out', miss).on('tail_ended', end);
    socket.emit('tail', { room, namespace, payloads }, (answer: Answer) => {
      if (!answer.ok) setTailed((before) => ({ ...before, ended: answer.error.message }));
      else if (gone) socket.emit('untail', { tail: answer.tail });
      else {
        mine = answer.tail;
        setTailed((before) => ({ ...before, ended: undefined }));
      }
    });
    const drawing = setInterval(() => {
      const events = waiting;
      waiting = [];
      if (events.length > 0) setTailed((before) => told(before, events));
    }, DRAW_MS);
    return () => {
      gone = true;
      clearInterval(drawing);
      socket.off('tail_event', hear).off('tail_left_out', miss).off('tail_ended', end);
      if (mine !== undefined) socket.emit('untail', { tail: mine });
    };
  }, [socket, isLive, turn, wanted, room, namespace, payloads]);
  return { ...tailed, clear: () => setTailed((before) => ({ ...NOTHING, told: before.told })) };
}
