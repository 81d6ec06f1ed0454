// Asks before something is done that cannot be taken back. The focus is kept in the dialog, and goes back to the button.

import { createContext, useCallback, useContext, useEffect, useId, useRef, useState, type ReactNode } from 'react';

export interface Question {
  title: string;
  /** What will happen, and to whom. */
  text: string;
  /** The word on the button that does it. */
  verb: string;
}

type Ask = (question: Question) => Promise<boolean>;

const Asking = createContext<Ask>(() => Promise.resolve(false));

/** Asks; false, if it is not to be done. */
export function useConfirm(): Ask {
  return useContext(Asking);
}

interface Open extends Question {
  answer: (yes: boolean) => void;
}

export function Confirming({ children }: { children: ReactNode }) {
  const [open, setOpen] = useState<Open | undefined>(undefined);
  const ask = useCallback<Ask>((question) => {
    return new Promise((answer) => {
      setOpen({ ...question, answer });
    });
  }, []);
  const close = useCallback(
    (yes: boolean) => {
      open?.answer(yes);
      setOpen(undefined);
    },
    [open],
  );
  return (
    <Asking value={ask}>
      {children}
      {open === undefined ? null : <Confirm question={open} close={close} />}
    </Asking>
  );
}

function Confirm({ question, close }: { question: Question; close: (yes: boolean) => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const before = useRef<Element | null>(null);
  const [title, text] = [useId(), useId()];
  useEffect(() => {
    before.current = document.activeElement;
    dialog.current?.showModal();
    return () => {
      // The dialog goes with its element, so the browser does not give the focus back.
      if (before.current instanceof HTMLElement) before.current.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={title}
      aria-describedby={text}
      onCancel={(event) => {
        event.preventDefault();
        close(false);
      }}
    >
      <h2 id={title}>{question.title}</h2>
      <p id={text}>{question.text}</p>
      <div className="row end">
        <button
          type="button"
          autoFocus
          onClick={() => {
            close(false);
          }}
        >
          Cancel
        </button>
        <button
          type="button"
          className="danger"
          onClick={() => {
            close(true);
          }}
        >
          {question.verb}
        </button>
      </div>
    </dialog>
  );
}
