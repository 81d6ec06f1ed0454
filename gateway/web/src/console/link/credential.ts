// What one is known by to the nodes, kept for as long as the tab is open. Never in an address, which would be in logs.

const KEPT_AS = 'gateway-console';

/** The id of a login, which stands for the token that it was made with. */
export function kept(): string | undefined {
  return sessionStorage.getItem(KEPT_AS) ?? undefined;
}

export function keep(id: string): void {
  sessionStorage.setItem(KEPT_AS, id);
}

export function forget(): void {
  sessionStorage.removeItem(KEPT_AS);
}
