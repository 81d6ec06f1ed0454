// How figures, sizes and times are written for people.

const whole = new Intl.NumberFormat('en');
const tenths = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

/** A count: 12,345. */
export function count(value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? '–' : whole.format(Math.round(value));
}

/** So much in a second: tenths as long as they say something. */
export function perSecond(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  return `${(value < 10 ? tenths : whole).format(value < 10 ? value : Math.round(value))}/s`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** A size in bytes: 1.5 MiB. */
export function bytes(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(size) : tenths.format(size)} ${UNITS[unit] ?? ''}`;
}

/** A part of one, in percent. */
export function percent(value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? '–' : `${tenths.format(value * 100)} %`;
}

const STEPS: readonly (readonly [string, number])[] = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
];

/** How long something takes or took, by its two largest units. */
export function duration(seconds: number | undefined): string {
  if (seconds === undefined || !Number.isFinite(seconds)) return '–';
  if (seconds < 0.001) return seconds <= 0 ? '0 s' : `${tenths.format(seconds * 1e6)} µs`;
  if (seconds < 1) return `${tenths.format(seconds * 1000)} ms`;
  if (seconds < 60) return `${tenths.format(seconds)} s`;
  const parts: string[] = [];
  let left = Math.floor(seconds);
  for (const [unit, length] of STEPS) {
    const units = Math.floor(left / length);
    left -= units * length;
    if (units > 0) parts.push(`${String(units)} ${unit}`);
    if (parts.length === 2) break;
  }
  return parts.join(' ');
}

/** A moment as the clock on the wall shows it; with its day if that is another one. */
export function moment(when: string | number | undefined, now: Date = new Date()): string {
  if (when === undefined) return '–';
  const at = new Date(when);
  if (Number.isNaN(at.getTime())) return String(when);
  const clock = at.toLocaleTimeString('en-GB');
  return at.toDateString() === now.toDateString() ? clock : `${day(at)} ${clock}`;
}

function day(at: Date): string {
  const two = (part: number) => String(part).padStart(2, '0');
  return `${String(at.getFullYear())}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** How long ago a moment was. */
export function ago(when: string | number, now: number = Date.now()): string {
  const seconds = (now - new Date(when).getTime()) / 1000;
  return seconds < 1 ? 'now' : `${duration(Math.floor(seconds))} ago`;
}

/** One or many of something. */
export function several(howMany: number, one: string, many = `${one}s`): string {
  return `${count(howMany)} ${howMany === 1 ? one : many}`;
}
