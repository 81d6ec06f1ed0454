// An image that came as bytes; its place is as large as it will be before it is there.

import { useEffect, useRef } from 'react';

import type { Image } from '../talks/said';

/** How wide and high an image is shown at the most. */
const WIDEST = 320;
const HIGHEST = 240;

export function Picture({ image, by }: { image: Image; by: string }) {
  const element = useRef<HTMLImageElement>(null);
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([image.bytes], { type: image.type }));
    if (element.current) element.current.src = made;
    return () => URL.revokeObjectURL(made);
  }, [image]);
  const scale = Math.min(1, WIDEST / image.width, HIGHEST / image.height);
  return <img ref={element} alt={`a picture by ${by}`} width={Math.round(image.width * scale)} height={Math.round(image.height * scale)} />;
}
