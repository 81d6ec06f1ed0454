// A page: its heading has the focus when it is come to, so that readers and keyboards begin there.

import { useEffect, useRef, type ReactNode } from 'react';

interface PageProps {
  title: string;
  /** What stands beside the heading. */
  beside?: ReactNode;
  children: ReactNode;
}

export function Page({ title, beside, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Gateway console`;
    heading.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [title]);
  return (
    <>
      <div className="heading">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {beside}
      </div>
      {children}
    </>
  );
}

/** A part of a page with a heading of its own. */
export function Part({ title, beside, children }: PageProps) {
  return (
    <section aria-label={title} className="part">
      <div className="heading">
        <h2>{title}</h2>
        {beside}
      </div>
      {children}
    </section>
  );
}
