/** The command that does the same as a form. */
import { useState } from 'react';
import { TEXTS } from '../texts/texts.ts';

/** Shows a `gp` command, and copies it. */
export function GpCommand({ command }: { readonly command: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(command);
    setCopied(true);
  };
  return (
    <div className="gp-command">
      <span className="hint">{TEXTS.sameByCommand}</span>
      <code>{command}</code>
      <button type="button" className="quiet" onClick={() => void copy()}>
        {isCopied ? TEXTS.copied : TEXTS.copy}
      </button>
    </div>
  );
}
