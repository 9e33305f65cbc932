/** One drain, and its record afterwards. */
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { movesCsv } from '../../../../src/cli/maintenance/record-csv.ts';
import { drainMarkdown } from '../../../../src/cli/maintenance/record-markdown.ts';
import { drainQuery } from '../../api/queries.ts';
import type { Drain } from '../../api/types.ts';
import { TEXTS } from '../../texts/texts.ts';
import { type ExportForm, ExportMenu } from '../../ui/export-menu.tsx';
import { Page } from '../../ui/page.tsx';
import { DrainLive } from './drain-live.tsx';

/** See the module's comment. */
export function DrainPage() {
  const { drain: id } = useParams({ strict: false }) as { readonly drain: string };
  const drain = useQuery(drainQuery(id)).data;
  return (
    <Page
      title={drain === undefined ? id : TEXTS.drain.title(drain.hosts.join(', '))}
      actions={<ExportMenu file={id} forms={drain === undefined ? null : exportsOf(drain)} />}
    >
      <DrainLive drain={id} />
    </Page>
  );
}

function exportsOf(drain: Drain): readonly ExportForm[] {
  const { exports } = TEXTS.roll;
  return [
    { name: exports.markdown, type: 'text/markdown', content: () => drainMarkdown(drain) },
    { name: exports.csv, type: 'text/csv', content: () => movesCsv([drain]) },
    { name: exports.json, type: 'application/json', content: () => JSON.stringify(drain, null, 2) },
  ];
}
