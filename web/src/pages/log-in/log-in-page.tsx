/** Logging in: by an API token, or by the one-time link of `gp ui`, whose secret is behind the # of the address. */
import { Button, PasswordInput } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { useLogIn } from '../../app/session.ts';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import { Problem } from '../../ui/page.tsx';
import './log-in.css';

/** See the module's comment. */
export function LogInPage() {
  const { search } = useSearch();
  const navigate = useNavigate();
  const { mutate, isPending, error } = useLogIn(() => void navigate({ to: ownPath(search['to']) as '/' }));
  const [token, setToken] = useState('');
  const tried = useRef(false);
  useEffect(() => {
    document.title = `${TEXTS.logIn.title} – ${TEXTS.product}`;
    const link = location.hash.slice(1);
    if (link === '' || tried.current) return;
    tried.current = true;
    // The link is used up: it must not stay in the address or in the history.
    history.replaceState(history.state, '', '/login');
    mutate({ link });
  }, [mutate]);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    mutate({ token: token.trim() });
  };
  return (
    <main className="log-in">
      <form onSubmit={submit}>
        <div className="log-in-brand">
          <img src="/mark.svg" alt="" width={34} height={34} />
          <h1>{TEXTS.product}</h1>
        </div>
        <PasswordInput
          label={TEXTS.logIn.token}
          description={TEXTS.logIn.tokenHint}
          autoComplete="off"
          value={token}
          onChange={({ currentTarget }) => setToken(currentTarget.value)}
        />
        {error === null ? null : <Problem error={error} />}
        <Button type="submit" loading={isPending} disabled={token.trim() === ''}>
          {TEXTS.logIn.submit}
        </Button>
      </form>
    </main>
  );
}

/** Only a path of this server: an address from somebody else must not lead away. */
function ownPath(path: string | undefined): string {
  return path !== undefined && /^\/(?![/\\])/.test(path) && !path.startsWith('/login') ? path : '/';
}
