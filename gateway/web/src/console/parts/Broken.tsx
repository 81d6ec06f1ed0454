// A page that fails says so, and leaves the others alone.

import { Component, type ReactNode } from 'react';

interface State {
  why: string | undefined;
}

export class Broken extends Component<{ children: ReactNode }, State> {
  static getDerivedStateFromError(error: unknown): State {
    return { why: error instanceof Error ? error.message : String(error) };
  }

  override state: State = { why: undefined };

  override render(): ReactNode {
    const { why } = this.state;
    if (why === undefined) return this.props.children;
    return (
      <div role="alert" className="notice bad">
        <h1>This page has failed</h1>
        <p>{why}</p>
        <button type="button" onClick={() => this.setState({ why: undefined })}>
          Try again
        </button>
      </div>
    );
  }
}
