/** The whole application: query cache, theme, live stream. */
import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useEffect } from 'react';
import { connectLive, useIsOutdated, useLiveState } from '../live/connection.ts';
import { useList } from '../live/lists.ts';
import { TEXTS } from '../texts/texts.ts';

const cache = new QueryClient({ defaultOptions: { queries: { retry: 1, refetchOnWindowFocus: false } } });

/** See the module. */
export function App() {
  useEffect(() => connectLive(cache), []);
  return (
    <MantineProvider defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={cache}>
        <First />
      </QueryClientProvider>
    </MantineProvider>
  );
}

function First() {
  const state = useLiveState();
  const isOutdated = useIsOutdated();
  const hosts = useList('host');
  return (
    <main>
      <h1>{TEXTS.product}</h1>
      <p>{isOutdated ? TEXTS.live.outdated : TEXTS.live[state]}</p>
      <ul>
        {hosts.map(({ name, vms }) => (
          <li key={name}>
            {name}: {vms.join(', ')}
          </li>
        ))}
      </ul>
    </main>
  );
}
