// A table of few rows. On a narrow screen it scrolls by itself, and the page does not.

import type { ReactNode } from 'react';

export interface Column<Row> {
  title: string;
  /** Figures stand at the end, so that their digits are below each other. */
  figure?: boolean;
  /** How wide it is at least in a table of very many rows, in rem: 6, if it is not said. */
  width?: number;
  cell: (row: Row) => ReactNode;
}

interface TableProps<Row> {
  /** What is in it, for readers. */
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  /** What stands there instead of no rows. */
  empty: string;
}

export function Table<Row>({ caption, columns, rows, keyOf, empty }: TableProps<Row>) {
  if (rows.length === 0) return <p className="empty">{empty}</p>;
  return (
    // Whoever has no pointer scrolls it with the keyboard.
    <div className="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption className="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" className={column.figure === true ? 'figure' : undefined}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              {columns.map((column) => (
                <td key={column.title} className={column.figure === true ? 'figure' : undefined}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Names and what they are. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
