// A private message leaves word for who is away: a notification, where users may send one.

import { type Identity, nameOf } from '../identity';
import { waitBefore } from '../connection/retry';
import type { Said } from './said';

const SHOWN = 80;
/** Answers after which the same may be done later, none among them. */
const LATER = [429, 502, 503, 504];
/** By then whoever was away has seen the message itself, or will. */
const TRIES = 6;

/** Over HTTP, where the gateway says who may; a user who may not has still sent the message. One message is one word, by `id`. */
export async function tellThem(identity: Identity, receiverId: string, said: Said, id: string): Promise<void> {
  if (identity.kind === 'nobody') return;
  const headers = new Headers({ 'content-type': 'application/json', 'idempotency-key': id });
  if (identity.kind === 'token') headers.set('authorization', `Bearer ${identity.token}`);
  const what = said.text.length > SHOWN ? `${said.text.slice(0, SHOWN)}…` : said.text || 'a picture';
  const body = JSON.stringify({ receiverId, message: `${nameOf(identity.user)}: ${what}`, data: { from: identity.user } });
  for (let failures = 1; failures <= TRIES; failures++) {
    const answer = await fetch('/api/notifications', { method: 'POST', headers, body }).catch(() => null);
    if (answer && !LATER.includes(answer.status)) return;
    const header = Number(answer?.headers.get('retry-after') ?? NaN);
    const wait = waitBefore(failures, Number.isFinite(header) ? header * 1000 : null);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
