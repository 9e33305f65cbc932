/** One drain, and its record afterwards. */
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { drainQuery } from '../../api/queries.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Page } from '../../ui/page.tsx';
import { DrainLive } from './drain-live.tsx';

/** See the module. */
export function DrainPage() {
  const { drain: id } = useParams({ strict: false }) as { readonly drain: string };
  const drain = useQuery(drainQuery(id)).data;
  /** The record as the API gives it, for a change ticket. */
  const save = (): void => {
    const url = URL.createObjectURL(new Blob([JSON.stringify(drain, null, 2)], { type: 'application/json' }));
    const link = Object.assign(document.createElement('a'), { href: url, download: `${id}.json` });
    link.click();
    URL.revokeObjectURL(url);
  };
  return (
    <Page
      title={drain === undefined ? id : TEXTS.drain.title(drain.hosts.join(', '))}
      actions={
        <Button size="xs" variant="default" disabled={drain === undefined} onClick={save}>
          {TEXTS.drain.export}
        </Button>
      }
    >
      <DrainLive drain={id} />
    </Page>
  );
}
