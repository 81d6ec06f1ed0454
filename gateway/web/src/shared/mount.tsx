// Puts a page's root component where the document has its place.

import type { ReactNode } from 'react';
import { createRoot } from 'react-dom/client';

export function mount(page: ReactNode): void {
  const place = document.getElementById('root');
  if (!place) throw new Error('the document has no place for the page');
  createRoot(place).render(page);
}
