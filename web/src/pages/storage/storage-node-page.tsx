/** One storage node with its disks. */
import { Link, useParams } from '@tanstack/react-router';
import type { Disk } from '../../api/types.ts';
import { useItem, useList } from '../../live/lists.ts';
import { bytesText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Mark } from '../../ui/mark.tsx';
import { Empty, Facts, Page, Section, Waiting } from '../../ui/page.tsx';

const { storage: texts } = TEXTS;
const { diskColumns: heads } = texts;

const COLUMNS: readonly Column<Disk>[] = [
  { id: 'disk', header: heads.id, width: 'minmax(150px, 1fr)', value: ({ id }) => id },
  {
    ...{ id: 'vm', header: heads.vm, width: 'minmax(120px, 1fr)', value: ({ vm }: Disk) => vm },
    cell: ({ vm }) => <Link to={`/vms/${vm}` as '/'}>{vm}</Link>,
  },
  { id: 'role', header: heads.role, width: '90px', value: ({ role }) => role, isFacet: true },
  { id: 'source', header: heads.source, width: '90px', value: ({ source }) => source, isFacet: true },
  {
    ...{ id: 'size', header: heads.size, width: '100px', align: 'right', value: ({ sizeBytes }: Disk) => sizeBytes },
    cell: ({ sizeBytes }) => bytesText(sizeBytes),
  },
  { id: 'phase', header: heads.phase, width: '100px', value: ({ phase }) => phase, isFacet: true },
];

const keyOf = ({ id }: Disk): string => id;

/** See the module's comment. */
export function StorageNodePage() {
  const { node: name } = useParams({ strict: false }) as { readonly node: string };
  const node = useItem('storage', name);
  const disks = useList('disk').filter((disk) => disk.node === name);
  return (
    <Page
      title={name}
      isFilled
      state={node === undefined ? null : <Mark tone={node.state === 'alive' ? 'good' : 'bad'}>{node.state}</Mark>}
    >
      {node === undefined ? (
        <Waiting />
      ) : (
        <Section title={texts.columns.state}>
          <Facts
            facts={[
              [texts.addresses, `${node.addresses.control} / ${node.addresses.storage}`],
              [TEXTS.host.facts.joined, timeText(node.joinedAt)],
              ...node.because.map((reason, at) => [`${texts.because} ${at + 1}`, reason] as const),
              ...node.faults.map((fault, at) => [`${texts.columns.faults} ${at + 1}`, fault] as const),
            ]}
          />
        </Section>
      )}
      <DataTable
        label={texts.disksOf(name)}
        rows={disks}
        columns={COLUMNS}
        keyOf={keyOf}
        empty={<Empty title={texts.noDisk} />}
      />
    </Page>
  );
}
