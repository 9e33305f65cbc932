/** Logging in and out. The session is a cookie that no script can read. */
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { dataOf, http } from '../api/client.ts';
import { retryLive } from '../live/connection.ts';

/** The credential with which a person logs in. */
export type Credential = { readonly token: string } | { readonly link: string };

/** Logs in. */
export function useLogIn(done: () => void) {
  const cache = useQueryClient();
  return useMutation({
    meta: { shownInPlace: true },
    mutationFn: (credential: Credential) => dataOf(http.POST('/v1/session', { body: credential })),
    onSuccess: () => {
      cache.clear();
      retryLive();
      done();
    },
  });
}

/** Logs this browser out; `everywhere`: every session of the same token. */
export function useLogOut({ everywhere = false } = {}) {
  const cache = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: () => dataOf(http.DELETE(everywhere ? '/v1/sessions' : '/v1/session')),
    onSuccess: async () => {
      await navigate({ to: '/login' });
      cache.clear();
    },
  });
}
