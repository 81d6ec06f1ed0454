// A list of rooms that was asked for, with the members that come and go since.

import type { Rooms } from '../link/answers';

/** Somebody who joined (1) or left (-1) a room. */
export interface Step {
  namespace: string;
  room: string;
  by: 1 | -1;
}

/** The list after these steps; the same, if none is in one of its rooms. Rooms that are new to it come with the next look. */
export function stepped(list: Rooms, steps: readonly Step[]): Rooms {
  const by = new Map<string, number>();
  for (const step of steps) {
    const key = `${step.namespace} ${step.room}`;
    by.set(key, (by.get(key) ?? 0) + step.by);
  }
  const rooms = list.rooms.map((room) => {
    const change = by.get(`${room.namespace} ${room.room}`) ?? 0;
    if (change === 0) return room;
    return { ...room, members: Math.max(0, room.members + change) };
  });
  return rooms.some((room, at) => room !== list.rooms[at]) ? { ...list, rooms } : list;
}
