/** One VM. */
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { vmQuery } from '../../api/queries.ts';
import type { VmDetail } from '../../api/types.ts';
import { TEXTS } from '../../texts/texts.ts';
import { VerdictMark } from '../../ui/mark.tsx';
import { Page, Problem, Waiting } from '../../ui/page.tsx';
import { Tabs } from '../../ui/tabs.tsx';
import { EditVm } from './edit-vm.tsx';
import { VmActions } from './vm-actions-bar.tsx';
import { VmConsole } from './vm-console.tsx';
import { VmHistory } from './vm-history.tsx';
import { VmOverview } from './vm-overview.tsx';

/** See the module's comment. */
export function VmPage() {
  const { vm: name } = useParams({ strict: false }) as { readonly vm: string };
  const { data: vm, error } = useQuery(vmQuery(name));
  if (vm === undefined) return <Page title={name}>{error === null ? <Waiting /> : <Problem error={error} />}</Page>;
  const { tabs } = TEXTS.vm;
  return (
    <Page title={vm.name} state={<VerdictMark verdict={vm.verdict} />} actions={<VmActions vm={vm} />}>
      <Tabs
        label={TEXTS.vm.parts}
        tabs={[
          { key: 'overview', title: tabs.overview, content: () => <VmOverview vm={vm} /> },
          { key: 'console', title: tabs.console, content: () => <VmConsole vm={vm} /> },
          { key: 'figures', title: tabs.figures, content: () => <FiguresTab vm={vm} /> },
          { key: 'history', title: tabs.history, content: () => <VmHistory vm={vm} /> },
          { key: 'edit', title: tabs.edit, content: () => <EditVm key={vm.id} vm={vm} /> },
        ]}
      />
    </Page>
  );
}

const VmFigures = lazy(async () => ({ default: (await import('./vm-figures.tsx')).VmFigures }));

/** Loaded when somebody looks. */
function FiguresTab({ vm }: { readonly vm: VmDetail }) {
  return (
    <Suspense fallback={<Waiting />}>
      <VmFigures key={vm.id} vm={vm} />
    </Suspense>
  );
}
