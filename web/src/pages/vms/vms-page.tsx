/** All VMs. */
import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import type { Vm } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { VERDICT_STYLES } from '../../picture/verdict-style.ts';
import { bytesText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { VerdictMark } from '../../ui/mark.tsx';
import { Empty, Page } from '../../ui/page.tsx';
import { BulkActions } from './bulk-actions.tsx';

const { columns: heads } = TEXTS.vm;

const COLUMNS: readonly Column<Vm>[] = [
  {
    ...{ id: 'name', header: heads.name, width: 'minmax(160px, 1.4fr)', value: ({ name }: Vm) => name },
    cell: ({ name }) => <Link to={`/vms/${name}` as '/'}>{name}</Link>,
  },
  {
    ...{ id: 'verdict', header: heads.verdict, width: '150px', isFacet: true },
    value: ({ verdict }) => VERDICT_STYLES[verdict].text,
    cell: ({ verdict }) => <VerdictMark verdict={verdict} />,
  },
  {
    ...{ id: 'host', header: heads.host, width: 'minmax(90px, 1fr)', value: ({ host }: Vm) => host, isFacet: true },
    cell: ({ host }) => (host === null ? '' : <Link to={`/hosts/${host}` as '/'}>{host}</Link>),
  },
  { id: 'vcpus', header: heads.vcpus, width: '70px', align: 'right', value: ({ spec }) => spec.vcpus },
  {
    ...{ id: 'memory', header: heads.memory, width: '100px', align: 'right' },
    value: ({ spec }) => spec.memoryBytes,
    cell: ({ spec }) => bytesText(spec.memoryBytes),
  },
  {
    ...{ id: 'cluster', header: heads.guestCluster, width: 'minmax(100px, 1fr)', isFacet: true },
    value: ({ guestCluster }) => guestCluster,
    cell: ({ guestCluster }) =>
      guestCluster === null ? '' : <Link to={`/guest-clusters/${guestCluster}` as '/'}>{guestCluster}</Link>,
  },
  { id: 'image', header: heads.image, width: 'minmax(90px, 1fr)', value: ({ spec }) => spec.image, isFacet: true },
  {
    ...{ id: 'address', header: heads.address, width: 'minmax(110px, 1fr)' },
    value: ({ nics }) => nics.flatMap(({ address }) => address ?? []).join(', '),
  },
  {
    ...{ id: 'labels', header: heads.labels, width: 'minmax(140px, 1.4fr)' },
    value: ({ labels }) => labelsText(labels),
  },
  { id: 'generation', header: heads.generation, width: '90px', align: 'right', value: ({ generation }) => generation },
];

function labelsText(labels: Vm['labels']): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}

const keyOf = ({ id }: Vm): string => id;

/** See the module's comment. */
export function VmsPage() {
  const vms = useList('vm');
  return (
    <Page
      title={TEXTS.pages.vms}
      isFilled
      actions={
        <Button size="xs" component={Link} to="/vms/new">
          {TEXTS.vm.create}
        </Button>
      }
    >
      <DataTable
        label={TEXTS.pages.vms}
        rows={vms}
        columns={COLUMNS}
        keyOf={keyOf}
        bulk={(selected, done) => <BulkActions vms={selected} done={done} />}
        empty={<Empty title={TEXTS.vm.empty}>{TEXTS.vm.emptyHint}</Empty>}
      />
    </Page>
  );
}
