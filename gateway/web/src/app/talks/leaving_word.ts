// A private message leaves word for who is away: a notification, where users may send one.

import type { Identity } from '../identity';
import { nameOf } from '../identity';
import type { Said } from './said';

const SHOWN = 80;

/** Over HTTP, where the gateway says who may; a user who may not has still sent the message. */
export async function tellThem(identity: Identity, receiverId: string, said: Said): Promise<void> {
  if (identity.kind === 'nobody') return;
  const headers = new Headers({ 'content-type': 'application/json' });
  if (identity.kind === 'token') headers.set('authorization', `Bearer ${identity.token}`);
  const what = said.text.length > SHOWN ? `${said.text.slice(0, SHOWN)}…` : said.text || 'a picture';
  const body = JSON.stringify({ receiverId, message: `${nameOf(identity.user)}: ${what}`, data: { from: identity.user } });
  await fetch('/api/notifications', { method: 'POST', headers, body }).catch(() => undefined);
}
