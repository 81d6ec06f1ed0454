// Figures over time, as charts draw them: the last so many moments, each with some named values. A sample is never changed.

/** A column as charts read it; what is not known at a moment is null. */
type Drawn = (number | null)[];

export class Samples {
  private constructor(
    private readonly most_kept: number,
    private readonly times: readonly number[],
    private readonly values: readonly Readonly<Record<string, number | undefined>>[],
  ) {}

  /** None yet, and at most so many. */
  static keeping(howMany: number): Samples {
    return new Samples(howMany, [], []);
  }

  get length(): number {
    return this.times.length;
  }

  /** These and one more, `at` seconds since 1970. One of the same or an earlier moment takes the last one's place. */
  with(at: number, values: Readonly<Record<string, number | undefined>>): Samples {
    const before = this.times.at(-1);
    const keep = before !== undefined && at <= before ? this.times.length - 1 : this.times.length;
    const from = Math.max(0, keep - this.most_kept + 1);
    return new Samples(
      this.most_kept,
      [...this.times.slice(from, keep), at],
      [...this.values.slice(from, keep), values],
    );
  }

  /** Times and columns. */
  columns(keys: readonly string[]): [number[], ...Drawn[]] {
    return [[...this.times], ...keys.map((key) => this.values.map((values) => values[key] ?? null))];
  }

  /** The newest value of a column. */
  last(key: string): number | undefined {
    return this.values.at(-1)?.[key];
  }

  /** The largest value of a column. */
  most(key: string): number | undefined {
    let most: number | undefined;
    for (const values of this.values) {
      const value = values[key];
      if (value !== undefined && (most === undefined || value > most)) most = value;
    }
    return most;
  }
}
