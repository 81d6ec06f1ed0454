// What is known of the cluster from events, for components.

import { useSyncExternalStore } from 'react';

import type { Live } from '../live/live';
import { useLink } from './SocketProvider';

/** A part of it. The component is drawn anew when the part is another one. */
export function useLive<T>(part: (live: Live) => T): T {
  const { live } = useLink();
  return useSyncExternalStore(live.subscribe, () => part(live));
}
