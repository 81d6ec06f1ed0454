// A room of the gateway as state of a React component: everything that is said there, once and in order.

import { useCallback, useEffect, useState } from 'react';
import type { Socket } from 'socket.io-client';

export interface Message<T> {
  room: string;
  user: string | null;
  data: T;
  at: number;
  offset: string;
}

type Ack<T> = ({ ok: true } & T) | { ok: false; error: { code: string; message: string; retryAfterMs?: number } };

async function ask<T>(socket: Socket, event: string, body: object): Promise<T> {
  const ack = (await socket.emitWithAck(event, body)) as Ack<T>;
  if (!ack.ok) throw new Error(`${ack.error.code}: ${ack.error.message}`);
  return ack;
}

/** Offsets are decimal texts: the longer one is later, and of two equally long ones the greater. */
const isAfter = (one: string, other: string) => one.length - other.length || (one < other ? -1 : one > other ? 1 : 0);

export function useRoom<T>(socket: Socket, room: string) {
  const [messages, setMessages] = useState<readonly Message<T>[]>([]);
  const [isInside, setInside] = useState(false);
  const [isIncomplete, setIncomplete] = useState(false);

  useEffect(() => {
    let upTo: string | undefined;
    const add = (came: Message<T>[]) => {
      for (const { offset } of came) if (upTo === undefined || isAfter(offset, upTo) > 0) upTo = offset;
      setMessages((all) => {
        const byOffset = new Map([...all, ...came].map((message) => [message.offset, message]));
        return [...byOffset.values()].sort((one, other) => isAfter(one.offset, other.offset));
      });
    };
    const hear = (message: Message<T>) => message.room === room && add([message]);
    const miss = (gap: { room: string | null }) => gap.room === room && setIncomplete(true);
    const enter = async () => {
      // Who is recovered is in its rooms, and hears by itself what it missed there.
      if (!socket.recovered || upTo === undefined) {
        const after = upTo === undefined ? {} : { after: upTo };
        const { offset } = await ask<{ offset: string }>(socket, 'join', { room, ...after });
        const { events } = await ask<{ events: { args: [Message<T>] }[] }>(socket, 'history', { room });
        upTo ??= offset;
        add(events.map(({ args }) => args[0]));
      }
      setInside(true);
    };
    const entering = () => void enter().catch(() => setInside(false));
    const leaving = () => setInside(false);
    socket.on('message', hear).on('gateway:gap', miss).on('connect', entering).on('disconnect', leaving);
    if (socket.connected) entering();
    return () => {
      socket.off('message', hear).off('gateway:gap', miss).off('connect', entering).off('disconnect', leaving);
      if (socket.connected) socket.emit('leave', { room }, () => undefined);
    };
  }, [socket, room]);

  /** Sent until it is answered (`retries` of the socket), and kept once. */
  const say = useCallback((data: T, id: string) => ask<{ offset: string }>(socket, 'publish', { room, data, id }), [socket, room]);
  return { messages, isInside, isIncomplete, say };
}
