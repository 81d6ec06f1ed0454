// The one connection to the operators' namespace: who is signed in, what is heard, and by which name requests are made.

import {
  createContext,
  useCallback,
  useContext,
  useEffect,
  useEffectEvent,
  useMemo,
  useState,
  type ReactNode,
} from 'react';
import { io, type Socket } from 'socket.io-client';

import { Live, SAMPLE_MS } from '../live/live';
import { apiOf, type Api } from './api';
import { forget, keep, kept } from './credential';
import type { Config, Refusals, Role, ServerStats } from './wire';

/** The development server has the clients' listener at the usual path. */
const PATH = import.meta.env.DEV ? '/console/socket.io/' : '/socket.io/';
/** How long until it is tried again, when a node has ended the connection itself. */
const AGAIN_MS = 1_000;

export interface Link {
  socket: Socket;
  api: Api;
  live: Live;
  config: Config;
  /** Whether events come just now. */
  isLive: boolean;
  /** How often the connection was made: what was asked of a node is asked again after each time. */
  turn: number;
  signOut: () => void;
}

export interface Entrance {
  /** Whether it is being tried. */
  busy: boolean;
  /** Why one is not in. */
  why: string | undefined;
  signIn: (token: string) => void;
}

const Linked = createContext<Link | undefined>(undefined);

/** The connection, in what is shown only to who is signed in. */
export function useLink(): Link {
  const link = useContext(Linked);
  if (link === undefined) throw new Error('nobody is signed in');
  return link;
}

export function useRole(): Role {
  return useLink().config.role;
}

/** Hears an event for as long as the component is there. */
export function useHeard(event: string, handle: (...said: never[]) => void): void {
  const { socket } = useLink();
  const latest = useEffectEvent(handle);
  useEffect(() => {
    const hear = (...said: unknown[]) => latest(...(said as never[]));
    socket.on(event, hear);
    return () => {
      socket.off(event, hear);
    };
  }, [socket, event]);
}

type Proof = { token: string } | { sessionId: string };

interface Opened {
  socket: Socket;
  api: Api;
  live: Live;
}

interface Gate {
  SignIn: (entrance: Entrance) => ReactNode;
  children: ReactNode;
}

/** Shows its children to who is signed in, and the sign-in to everybody else. */
export function SocketProvider({ SignIn, children }: Gate) {
  const [proof, setProof] = useState<Proof | undefined>(() => {
    const sessionId = kept();
    return sessionId === undefined ? undefined : { sessionId };
  });
  const [opened, setOpened] = useState<Opened>();
  const [config, setConfig] = useState<Config>();
  const [isLive, setIsLive] = useState(false);
  const [turn, setTurn] = useState(0);
  const [why, setWhy] = useState<string>();

  const leave = useCallback((because?: string) => {
    forget();
    setWhy(because);
    setProof(undefined);
    setConfig(undefined);
  }, []);

  useEffect(() => {
    if (proof === undefined) return;
    let now: Proof = proof;
    const live = new Live();
    const socket = io('/admin', { path: PATH, transports: ['websocket'], forceNew: true, auth: (give) => give(now) });
    const credential = () => ('token' in now ? now.token : now.sessionId);
    const api = apiOf(credential, () => leave('The node does not know this login any more.'));
    let again: ReturnType<typeof setTimeout> | undefined;
    socket.on('session', (sessionId: string) => {
      now = { sessionId };
      keep(sessionId);
    });
    socket.on('config', (said: Config) => {
      setOpened({ socket, api, live });
      setConfig(said);
      setIsLive(true);
      setTurn((before) => before + 1);
      setWhy(undefined);
    });
    socket.on('connect_error', (error) => {
      setIsLive(false);
      // Who is refused is not let in by trying again; a node that is away comes back.
      if (socket.active) setWhy('The node cannot be reached. Trying again.');
      else leave(`Not let in: ${error.message}.`);
    });
    socket.on('disconnect', (reason) => {
      setIsLive(false);
      if (reason === 'io server disconnect') again = setTimeout(() => socket.connect(), AGAIN_MS);
    });
    socket.on('server_stats', (stats: ServerStats) => live.onStats(stats));
    socket.on('refusals', (refusals: Refusals) => live.onRefusals(refusals));
    const sampling = setInterval(() => live.sample(), SAMPLE_MS);
    return () => {
      clearTimeout(again);
      clearInterval(sampling);
      socket.removeAllListeners();
      socket.disconnect();
      setIsLive(false);
    };
  }, [proof, leave]);

  const link = useMemo<Link | undefined>(() => {
    if (opened === undefined || config === undefined || proof === undefined) return undefined;
    return { ...opened, config, isLive, turn, signOut: () => leave() };
  }, [opened, config, proof, isLive, turn, leave]);
  const entrance = useMemo<Entrance>(
    () => ({
      busy: proof !== undefined,
      why,
      signIn: (token) => {
        setWhy(undefined);
        setProof({ token });
      },
    }),
    [proof, why],
  );
  return link === undefined ? <SignIn {...entrance} /> : <Linked value={link}>{children}</Linked>;
}
