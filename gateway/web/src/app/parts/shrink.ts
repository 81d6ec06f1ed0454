// Makes an image small enough for one event.

import type { Image } from '../talks/said';

/** Below what an event may have (`limits.message_bytes`, 64 KiB), with room for what goes with it. */
const MOST_BYTES = 48 * 1024;
const SIDES = [1280, 960, 640, 480, 320];
const QUALITIES = [0.85, 0.6];

export async function shrink(file: Blob): Promise<Image | null> {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return null;
  for (const side of SIDES) {
    for (const quality of QUALITIES) {
      const image = await drawn(bitmap, side, quality);
      if (image && image.bytes.byteLength <= MOST_BYTES) return image;
    }
  }
  return null;
}

async function drawn(bitmap: ImageBitmap, side: number, quality: number): Promise<Image | null> {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext('2d')?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise<Blob | null>((give) => canvas.toBlob(give, 'image/webp', quality));
  // A browser that cannot write WebP writes PNG.
  return blob && { bytes: await blob.arrayBuffer(), type: blob.type, width: canvas.width, height: canvas.height };
}
