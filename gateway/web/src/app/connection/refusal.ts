// Why the gateway said no, wherever it said so: an answer to an event, to a connect, or to a handshake over HTTP.

export interface Refusal {
  code: string;
  message: string;
  retryAfterMs: number | null;
}

/** What an ack or a `refused` event has. */
export function refusalIn(value: unknown): Refusal | null {
  if (value === null || typeof value !== 'object') return null;
  if ('error' in value) return refusalIn(value.error);
  if (!('code' in value) || typeof value.code !== 'string') return null;
  const message = 'message' in value && typeof value.message === 'string' ? value.message : value.code;
  const wait = 'retryAfterMs' in value && typeof value.retryAfterMs === 'number' ? value.retryAfterMs : null;
  return { code: value.code, message, retryAfterMs: wait };
}

/** What a handshake was answered over HTTP, as engine.io-client hands it on with its error. */
interface Answer {
  status?: number;
  responseText?: string;
  getResponseHeader?: (name: string) => string | null;
}

/** `null` if there was no answer: then nobody said no, and nobody is there. */
export function refusalOf(error: Error): Refusal | null {
  const { data, context } = error as Error & { data?: unknown; context?: Answer };
  const told = refusalIn(data);
  if (told) return told;
  if (!('type' in error)) return { code: codeIn(error.message), message: error.message, retryAfterMs: null };
  if (!context?.status || context.status < 400) return null;
  const header = Number(context.getResponseHeader?.('retry-after') ?? NaN);
  const retryAfterMs = Number.isFinite(header) ? header * 1000 : null;
  const said = refusalIn(parsed(context.responseText ?? ''));
  return said ? { ...said, retryAfterMs: said.retryAfterMs ?? retryAfterMs } : { code: `HTTP ${context.status}`, message: '', retryAfterMs };
}

/** Errors of a connect begin with their code: "unauthorized: …". */
function codeIn(message: string): string {
  return /^[a-z_]+(?=$|:)/.exec(message)?.[0] ?? 'rejected';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
