// Who clients are: one token for all, one of a file for each, or one that is signed here for each.
import crypto from 'k6/crypto';
import { SharedArray } from 'k6/data';
import encoding from 'k6/encoding';
import { number, refuse, text } from './settings.js';

const TOKEN = text('TOKEN');
const TOKENS = text('TOKENS');
const SECRET = text('SECRET');
const USER_PREFIX = text('USER_PREFIX', 'load-');
const TOKEN_SECONDS = number('TOKEN_SECONDS', 7200);

if ([TOKEN, TOKENS, SECRET].filter(Boolean).length > 1) refuse('only one of TOKEN, TOKENS and SECRET may be set');

const HEADER = encoding.b64encode(JSON.stringify({ alg: 'HS256', typ: 'JWT' }), 'rawurl');

/** Tokens of the file: one in a line, or a JSON list of them. Shared, as each virtual user would have a copy of its own. */
const file = TOKENS && new SharedArray('tokens', () => {
  const content = open(TOKENS).trim();
  const tokens = content.startsWith('[') ? JSON.parse(content) : content.split(/\s+/);
  if (tokens.length === 0) refuse(`${TOKENS} has no tokens`);
  return tokens;
});

/** Whether each client is a user of its own. */
export const MANY = Boolean(SECRET || TOKENS);
/** Whether clients prove who they are: then the gateway asks for that, or it would not look. */
export const PROVEN = MANY || Boolean(TOKEN);

/**
 * What the client with this number says who it is. A file that has fewer tokens than there are clients begins anew.
 * @param {number} index
 * @returns {{ token: string } | undefined}
 */
export function auth(index) {
  if (SECRET) return { token: sign(`${USER_PREFIX}${index}`) };
  if (file) return { token: file[index % file.length] };
  return TOKEN ? { token: TOKEN } : undefined;
}

/** A token of a user, signed with HS256. */
export function sign(user, seconds = TOKEN_SECONDS, secret = SECRET) {
  const now = Math.floor(Date.now() / 1000);
  const claims = encoding.b64encode(JSON.stringify({ sub: user, iat: now, exp: now + seconds }), 'rawurl');
  const signature = crypto.hmac('sha256', secret, `${HEADER}.${claims}`, 'base64rawurl');
  return `${HEADER}.${claims}.${signature}`;
}
