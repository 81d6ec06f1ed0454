// Who the page says it is: a token's user, a name that it chose where nobody has to prove anything, or nobody.

export type Identity =
  | { kind: 'token'; token: string; user: string }
  | { kind: 'named'; name: string; user: string }
  | { kind: 'nobody' };

const KEPT = 'gateway:identity';
/** What sets users of the same name apart, so that the name can be held by one of them alone. */
const SUFFIX = /~[a-z0-9]{8}$/;
const BIRDS = ['heron', 'wren', 'finch', 'plover', 'siskin', 'dunlin', 'linnet', 'avocet', 'bittern', 'curlew'];

/** The name that people read. */
export function nameOf(user: string | null): string {
  return user === null ? 'somebody' : user.replace(SUFFIX, '');
}

/** Eight letters and digits by chance. (`crypto.randomUUID` is there for pages over TLS alone.) */
export function chance(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join('');
}

export function named(name: string): Identity {
  return { kind: 'named', name, user: `${name}~${chance()}` };
}

/** A name for whoever has none in mind. */
export function suggestion(random = Math.random): string {
  const bird = BIRDS[Math.floor(random() * BIRDS.length)] ?? 'bird';
  return `${bird}-${10 + Math.floor(random() * 90)}`;
}

/** The user that a token names, unchecked: the gateway checks it. `null` if it is no token. */
export function withToken(token: string): Identity | null {
  try {
    const part = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const user = claims !== null && typeof claims === 'object' && 'sub' in claims ? claims.sub : null;
    return typeof user === 'string' ? { kind: 'token', token, user } : null;
  } catch {
    return null;
  }
}

/** Kept for this tab alone, so that another one can be somebody else, and a reload changes nothing. */
export function keep(identity: Identity | null): void {
  if (identity) sessionStorage.setItem(KEPT, JSON.stringify(identity));
  else sessionStorage.removeItem(KEPT);
}

export function kept(): Identity | null {
  const text = sessionStorage.getItem(KEPT);
  return text === null ? null : (JSON.parse(text) as Identity);
}
