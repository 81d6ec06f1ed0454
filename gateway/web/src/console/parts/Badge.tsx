// A word about a state. Its colour says nothing that the word does not.

export type Tone = 'good' | 'warn' | 'bad' | 'plain';

export function Badge({ tone, children }: { tone: Tone; children: string }) {
  return <span className={`badge ${tone}`}>{children}</span>;
}
