/** The whole application: query cache, theme, live stream, pages. */
import { MantineProvider } from '@mantine/core';
import { MutationCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { useEffect } from 'react';
import { CodedError } from '../../../src/base/errors.ts';
import { NeedsAcceptance } from '../../../src/base/problem.ts';
import { onSessionEnd } from '../api/client.ts';
import { connectLive } from '../live/connection.ts';
import { Notices, tellProblem } from '../ui/notices.tsx';
import { router } from './routes.tsx';

const RETRIES_MAX = 2;

/** Errors that may be gone at the next attempt: no answer, or not in time. */
function isPassing(error: unknown): boolean {
  return error instanceof CodedError && (error.code === 'unavailable' || error.code === 'deadline');
}

const cache = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (count, error) => count < RETRIES_MAX && isPassing(error),
      refetchOnWindowFocus: false,
      refetchOnReconnect: false,
    },
  },
  mutationCache: new MutationCache({
    onError: (error, _variables, _context, { meta }) => {
      if (meta?.['shownInPlace'] === true) return;
      // The person who asked is shown the form to sign.
      if (meta?.['signedInPlace'] === true && error instanceof NeedsAcceptance) return;
      tellProblem(error);
    },
  }),
});

onSessionEnd(() => {
  if (router.state.location.pathname === '/login') return;
  void router.navigate({ to: '/login', search: { to: router.state.location.href } as never });
});

/** See the module's comment. */
export function App() {
  useEffect(() => connectLive(cache), []);
  return (
    <MantineProvider defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={cache}>
        <RouterProvider router={router} />
        <Notices />
      </QueryClientProvider>
    </MantineProvider>
  );
}
