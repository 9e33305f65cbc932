/** The ties that somebody must sign for before a change is made, and the signature. */
import { TextInput } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { NeedsAcceptance, type ToAccept } from '../../../src/base/problem.ts';
import { TEXTS } from '../texts/texts.ts';
import { type Accept, acceptOf, type Refused, type Signing, signedCommand, toSignFor, UNSIGNED } from './acceptance.ts';
import { SmallTable } from './small-table.tsx';
import './accept-form.css';

const { accept: texts } = TEXTS;

/** A form's request that may have to be signed for. */
export interface Signature {
  /** The thing to sign for; null: nothing, as far as is known. */
  readonly what: ToAccept | null;
  readonly signing: Signing;
  readonly setSigning: (signing: Signing) => void;
  /** Takes in the reason for which a request was refused. */
  readonly hear: (error: unknown, request: object) => void;
  /** The request as it is sent: with `accept` where somebody signs. */
  readonly signed: <T extends object>(request: T) => T & { readonly accept?: Accept };
  /** The command that does the same. */
  readonly command: (unsigned: string) => string;
}

/** Keeps the signature. `checked`: the things to sign for, according to the check of the request. */
export function useSignature(request: object, checked: ToAccept | null = null): Signature {
  const [signing, setSigning] = useState(UNSIGNED);
  const [refused, setRefused] = useState<Refused | null>(null);
  const what = toSignFor(request, refused, checked);
  const accept = what === null ? null : acceptOf(signing);
  return {
    ...{ what, signing, setSigning },
    hear: (error, of) => {
      if (error instanceof NeedsAcceptance) setRefused({ request: JSON.stringify(of), what: error.acceptance });
    },
    signed: (unsigned) => (accept === null ? unsigned : { ...unsigned, accept }),
    command: (unsigned) => (what === null ? unsigned : signedCommand(unsigned, signing)),
  };
}

/** The form for a signature, if one is needed: the thing to sign for, and the person who signs. */
export function AcceptForm({ signature: { what, signing, setSigning } }: { readonly signature: Signature }) {
  if (what === null) return null;
  return (
    <fieldset className="accept">
      <legend>{texts.legend}</legend>
      <WhatBreaks what={what} />
      <SigningFields signing={signing} onChange={setSigning} />
    </fieldset>
  );
}

/** The ties, and the hosts that could not be drained or lost any more, with the reasons. */
export function WhatBreaks({ what: { ties, broken, moreBroken } }: { readonly what: ToAccept }) {
  return (
    <>
      {ties.length === 0 ? null : (
        <ul className="plain-list" aria-label={texts.ties}>
          {ties.map(({ kind, what }) => (
            <li key={`${kind} ${what}`}>{texts.tie(what)}</li>
          ))}
        </ul>
      )}
      {broken.length === 0 ? null : (
        <SmallTable
          heads={texts.brokenHeads}
          rows={broken.map(({ host, question, because }) => ({
            key: `${host} ${question}`,
            cells: [
              <Link key="host" to={`/hosts/${host}` as '/'}>
                {host}
              </Link>,
              texts.questions[question],
              <ul key="because" className="plain-list">
                {because.map((reason) => (
                  <li key={reason}>{reason}</li>
                ))}
              </ul>,
            ],
          }))}
        />
      )}
      {moreBroken === 0 ? null : <p className="hint">{texts.more(moreBroken)}</p>}
    </>
  );
}

interface FieldsProps {
  readonly signing: Signing;
  readonly onChange: (signing: Signing) => void;
}

/** The person who answers for it, the reason, and the end date. */
export function SigningFields({ signing, onChange }: FieldsProps) {
  return (
    <>
      <div className="form-row">
        <TextInput
          label={texts.owner}
          required
          autoComplete="off"
          value={signing.owner}
          onChange={({ currentTarget: { value } }) => onChange({ ...signing, owner: value })}
        />
        <TextInput
          label={texts.until}
          type="date"
          required
          value={signing.until}
          onChange={({ currentTarget: { value } }) => onChange({ ...signing, until: value })}
        />
      </div>
      <TextInput
        label={texts.reason}
        required
        autoComplete="off"
        value={signing.reason}
        onChange={({ currentTarget: { value } }) => onChange({ ...signing, reason: value })}
      />
      <p className="hint">{texts.untilHint}</p>
    </>
  );
}
