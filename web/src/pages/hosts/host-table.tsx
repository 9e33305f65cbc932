/** All hosts as a table. */
import { Link } from '@tanstack/react-router';
import type { Host } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { bytesText, percentOf } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { HostState, hostState } from '../../ui/host-state.tsx';
import { Meter } from '../../ui/mark.tsx';
import { Empty } from '../../ui/page.tsx';
import { Possible } from '../../ui/possible.tsx';

const { columns: heads } = TEXTS.host;

const COLUMNS: readonly Column<Host>[] = [
  {
    ...{ id: 'name', header: heads.name, width: 'minmax(120px, 1fr)', value: ({ name }: Host) => name },
    cell: ({ name }) => <Link to={`/hosts/${name}` as '/'}>{name}</Link>,
  },
  {
    ...{ id: 'state', header: heads.state, width: '140px', isFacet: true, value: (host: Host) => hostState(host).text },
    cell: (host) => <HostState host={host} />,
  },
  { id: 'rack', header: heads.rack, width: 'minmax(80px, 1fr)', value: ({ rack }) => rack, isFacet: true },
  { id: 'vms', header: heads.vms, width: '70px', align: 'right', value: ({ vms }) => vms.length },
  {
    ...{ id: 'used', header: heads.used, width: 'minmax(170px, 1fr)' },
    value: ({ memoryUsedBytes, memoryTotalBytes }) => percentOf(memoryUsedBytes, memoryTotalBytes),
    cell: ({ name, memoryUsedBytes, memoryTotalBytes }) => (
      <>
        <Meter part={memoryUsedBytes} whole={memoryTotalBytes} label={TEXTS.host.memoryOf(name)} />{' '}
        {percentOf(memoryUsedBytes, memoryTotalBytes)} %
      </>
    ),
  },
  {
    ...{ id: 'memory', header: heads.memory, width: '100px', align: 'right' },
    value: ({ memoryTotalBytes }) => memoryTotalBytes,
    cell: ({ memoryTotalBytes }) => bytesText(memoryTotalBytes),
  },
  { id: 'vcpus', header: heads.cpus, width: '80px', align: 'right', value: ({ vcpus }) => vcpus },
  {
    ...{ id: 'drainable', header: heads.drainable, width: 'minmax(130px, 1fr)', isFacet: true },
    value: ({ evacuability }) => TEXTS[evacuability.drain.possible],
    cell: ({ evacuability: { drain } }) => (
      <span title={drain.because.join('\n')}>
        <Possible answer={drain.possible} />
      </span>
    ),
  },
  {
    ...{ id: 'losable', header: heads.losable, width: 'minmax(110px, 1fr)', isFacet: true },
    value: ({ evacuability }) => TEXTS[evacuability.loss.possible],
    cell: ({ evacuability: { loss } }) => (
      <span title={loss.because.join('\n')}>
        <Possible answer={loss.possible} />
      </span>
    ),
  },
  { id: 'accelerator', header: heads.accelerator, width: '100px', value: ({ accelerator }) => accelerator },
];

const keyOf = ({ name }: Host): string => name;

/** See the module's comment. */
export function HostTable() {
  const hosts = useList('host');
  return (
    <DataTable
      label={TEXTS.pages.hosts}
      rows={hosts}
      columns={COLUMNS}
      keyOf={keyOf}
      empty={<Empty title={TEXTS.host.empty}>{TEXTS.host.emptyHint}</Empty>}
    />
  );
}
