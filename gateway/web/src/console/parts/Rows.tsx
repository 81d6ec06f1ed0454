// A table of very many rows, of which only those are in the page that are on the screen.

import { useRef, type CSSProperties } from 'react';
import { VList, type VListHandle } from 'virtua';

import type { Column } from './Table';

/** The height of a row, in pixels: all have the same. */
const ROW = 40;
/** How far from the end more is asked for, in pixels. */
const NEAR = 20 * ROW;

interface RowsProps<Row> {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  empty: string;
  /** Told when the end comes near. */
  atEnd?: () => void;
}

/** What the grid of each row is made of. */
function widths<Row>(columns: readonly Column<Row>[]): string {
  return columns.map(({ width = 6 }) => `minmax(${width}rem, ${width}fr)`).join(' ');
}

export function Rows<Row>({ caption, columns, rows, keyOf, empty, atEnd }: RowsProps<Row>) {
  const list = useRef<VListHandle>(null);
  const least = columns.reduce((sofar, { width = 6 }) => sofar + width, 0);
  if (rows.length === 0) return <p className="empty">{empty}</p>;
  const look = () => {
    const shown = list.current;
    if (shown !== null && shown.scrollSize - shown.scrollOffset - shown.viewportSize < NEAR) atEnd?.();
  };
  return (
    <div className="rows" role="region" aria-label={caption} tabIndex={0}>
      <div
        className="rows-table"
        role="table"
        aria-label={caption}
        aria-rowcount={rows.length + 1}
        style={{ '--widths': widths(columns), minInlineSize: `${least}rem` } as CSSProperties}
      >
        <div role="rowgroup" className="rows-head">
          <div role="row" aria-rowindex={1} className="rows-row">
            {columns.map((column) => (
              <div key={column.title} role="columnheader" className={column.figure === true ? 'figure' : undefined}>
                {column.title}
              </div>
            ))}
          </div>
        </div>
        <div className="rows-list">
          <VList
            ref={list}
            role="rowgroup"
            tabIndex={0}

            data={rows}
            itemSize={ROW}
            onScroll={look}
            onResize={look}
          >
            {(row, index) => (
              <div key={keyOf(row)} role="row" aria-rowindex={index + 2} className="rows-row">
                {columns.map((column) => (
                  <div key={column.title} role="cell" className={column.figure === true ? 'figure' : undefined}>
                    {column.cell(row)}
                  </div>
                ))}
              </div>
            )}
          </VList>
        </div>
      </div>
    </div>
  );
}
