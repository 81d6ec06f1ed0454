// What somebody said, as the page shows it, from whatever data the event has.

export interface Image {
  bytes: ArrayBuffer;
  type: string;
  width: number;
  height: number;
}

export interface Said {
  text: string;
  image: Image | null;
}

const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === 'object';
const isSide = (value: unknown): value is number => typeof value === 'number' && value > 0 && value <= 10_000;

/** Texts and `{text, image}` are what this page sends; of back ends' data it shows the JSON. */
export function read(data: unknown): Said {
  if (typeof data === 'string') return { text: data, image: null };
  if (!isObject(data)) return { text: data === null || data === undefined ? '' : JSON.stringify(data), image: null };
  const image = readImage(data['image']);
  if (image) return { text: typeof data['text'] === 'string' ? data['text'] : '', image };
  return { text: typeof data['text'] === 'string' ? data['text'] : JSON.stringify(data), image: null };
}

/** Nothing but raster images: others could hold scripts. */
function readImage(value: unknown): Image | null {
  if (!isObject(value)) return null;
  const { bytes, type, width, height } = value;
  if (!(bytes instanceof ArrayBuffer) || !isSide(width) || !isSide(height)) return null;
  return typeof type === 'string' && /^image\/(png|jpeg|webp|gif)$/.test(type) ? { bytes, type, width, height } : null;
}

/** The data of an event that says it. */
export function written({ text, image }: Said): unknown {
  return image ? { text, image } : text;
}
