// A labelled field for one line or a choice.

import { useId, type ReactNode } from 'react';

interface FieldProps {
  label: string;
  value: string;
  change: (value: string) => void;
  type?: 'text' | 'search' | 'password';
  placeholder?: string;
  required?: boolean;
  invalid?: boolean;
  describedBy?: string | undefined;
  lines?: number;
}

export function Field({
  label,
  value,
  change,
  type = 'text',
  placeholder,
  required,
  invalid,
  describedBy,
  lines,
}: FieldProps) {
  const id = useId();
  const same = {
    id,
    value,
    placeholder,
    required,
    spellCheck: false,
    autoComplete: 'off',
    'aria-invalid': invalid,
    'aria-describedby': describedBy,
    dir: 'auto' as const,
  };
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {lines === undefined ? (
        <input
          {...same}
          type={type}
          onChange={(event) => {
            change(event.target.value);
          }}
        />
      ) : (
        <textarea
          {...same}
          rows={lines}
          onChange={(event) => {
            change(event.target.value);
          }}
        />
      )}
    </div>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  change: (value: string) => void;
  children: ReactNode;
}

export function Choice({ label, value, change, children }: ChoiceProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <select
        id={id}
        value={value}
        onChange={(event) => {
          change(event.target.value);
        }}
      >
        {children}
      </select>
    </div>
  );
}

export function Tick({ label, value, change }: { label: string; value: boolean; change: (value: boolean) => void }) {
  const id = useId();
  return (
    <div className="tick">
      <input
        id={id}
        type="checkbox"
        checked={value}
        onChange={(event) => {
          change(event.target.checked);
        }}
      />
      <label htmlFor={id}>{label}</label>
    </div>
  );
}
