// What is asked and done once, over HTTP beside the page.

/** Why something was not done, in words. */
export class Failed extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly retryAfterS: number | undefined,
  ) {
    super(message);
  }
}

type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

/** A path with the parts and the query that are filled into it. */
export function path(parts: readonly string[], query: Fields = {}): string {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== '') asked.set(name, String(value));
  const text = asked.toString();
  return `/${parts.map(encodeURIComponent).join('/')}${text === '' ? '' : `?${text}`}`;
}

/** The console's own requests. */
export const ours = (parts: readonly string[], query?: Fields) => `/console/api${path(parts, query)}`;
/** Those of the HTTP API. */
export const theirs = (parts: readonly string[], query?: Fields) => `/console/api/v1${path(parts, query)}`;

export interface Api {
  get: <T>(at: string, signal?: AbortSignal) => Promise<T>;
  send: <T>(method: 'POST' | 'PUT' | 'DELETE', at: string, body?: unknown) => Promise<T>;
}

/** Requests in the name of who is signed in. `refused` is told when the node does not know it any more. */
export function apiOf(credential: () => string, refused: () => void): Api {
  const request = async <T>(at: string, init: RequestInit): Promise<T> => {
    const headers: Record<string, string> = { authorization: `Bearer ${credential()}` };
    if (init.body !== undefined) headers['content-type'] = 'application/json';
    const response = await fetch(at, { ...init, headers, cache: 'no-store' });
    const text = await response.text();
    if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T;
    if (response.status === 401) refused();
    throw failed(response.status, response.statusText, text, response.headers.get('retry-after'));
  };
  return {
    get: (at, signal) => request(at, { signal: signal ?? null }),
    send: (method, at, body) => request(at, body === undefined ? { method } : { method, body: JSON.stringify(body) }),
  };
}

/** What an answer that is none means: those of the console say `error`, those of the HTTP API are problems of RFC 9457. */
export function failed(status: number, statusText: string, text: string, retryAfter: string | null): Failed {
  const after = retryAfter === null ? Number.NaN : Number(retryAfter);
  let words: string | undefined;
  try {
    const said = JSON.parse(text) as { error?: unknown; detail?: unknown; title?: unknown } | null;
    words = [said?.error, said?.detail, said?.title].find((word) => typeof word === 'string' && word !== '') as
      string | undefined;
  } catch {
    // A proxy answered, or the node in a text: below is said what the status says.
  }
  words ??=
    statusText === '' ? `the node answers ${String(status)}` : `the node answers ${String(status)} ${statusText}`;
  return new Failed(status, words, Number.isFinite(after) ? after : undefined);
}

/** An error as people read it. */
export function explain(error: unknown): string {
  if (error instanceof Failed) {
    const wait = error.retryAfterS === undefined ? '' : ` Try again in ${String(error.retryAfterS)} s.`;
    return `Not done: ${error.message}.${wait}`.replace(/\.\.$/, '.').replace('.. ', '. ');
  }
  if (error instanceof TypeError) return 'Not done: the node cannot be reached.';
  return `Not done: ${error instanceof Error ? error.message : String(error)}`;
}
