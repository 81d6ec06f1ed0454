// What is typed about an event that is to be tried, as the node wants to hear it.

export interface Wish {
  namespace: string;
  event: string;
  args: string;
  user: string;
  roles: string;
  rooms: string;
}

export interface Body {
  namespace: string;
  event: string;
  args: unknown[];
  user?: string;
  roles: string[];
  rooms: string[];
}

/** The request; in words, why there is none. */
export function readWish(wish: Wish): Body | string {
  if (wish.event.trim() === '') return 'Say which event.';
  let args: unknown[];
  try {
    args = JSON.parse(`[${wish.args}]`) as unknown[];
  } catch (error) {
    return `The arguments are not JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
  const user = wish.user.trim();
  return {
    namespace: wish.namespace.trim() === '' ? '/' : wish.namespace.trim(),
    event: wish.event.trim(),
    args,
    ...(user === '' ? {} : { user }),
    roles: names(wish.roles),
    rooms: names(wish.rooms),
  };
}

function names(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
