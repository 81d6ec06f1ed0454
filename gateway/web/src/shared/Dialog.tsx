// A dialog of the browser: it keeps the focus, gives it back, and closes by Escape.

import { type ReactNode, useEffect, useRef } from 'react';

interface Props {
  label: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
}

export function Dialog({ label, isOpen, onClose, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    if (!element) return;
    if (isOpen && !element.open) element.showModal();
    if (!isOpen && element.open) element.close();
  }, [isOpen]);
  return (
    <dialog ref={dialog} aria-label={label} onClose={onClose}>
      {isOpen && (
        <>
          <header className="dialog-head">
            <h2>{label}</h2>
            <button className="plain" onClick={onClose} aria-label="Close">✕</button>
          </header>
          {children}
        </>
      )}
    </dialog>
  );
}
