/** All images, and the upload of new ones. */
import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import type { Image } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { bytesText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import type { Column } from '../../ui/columns.ts';
import { DataTable } from '../../ui/data-table.tsx';
import { Empty, Page } from '../../ui/page.tsx';
import { UploadImage } from './upload-image.tsx';

const { image: texts } = TEXTS;
const { columns: heads } = texts;

const COLUMNS: readonly Column<Image>[] = [
  {
    ...{ id: 'name', header: heads.name, width: 'minmax(130px, 1fr)', value: ({ name }: Image) => name },
    cell: ({ name }) => <Link to={`/images/${name}` as '/'}>{name}</Link>,
  },
  {
    ...{ id: 'boot', header: heads.boot, width: '130px', isFacet: true },
    value: ({ direct, disk }) => (direct === null ? (disk?.format ?? '') : texts.direct),
  },
  {
    ...{ id: 'size', header: heads.size, width: '110px', align: 'right' },
    value: ({ disk }) => disk?.virtualSizeBytes ?? null,
    cell: ({ disk }) => (disk === null ? '' : bytesText(disk.virtualSizeBytes)),
  },
  {
    ...{ id: 'memory', header: heads.memory, width: '130px', align: 'right' },
    value: ({ defaults }) => defaults.memoryBytes,
    cell: ({ defaults }) => bytesText(defaults.memoryBytes),
  },
  { id: 'nodes', header: heads.nodes, width: 'minmax(140px, 1fr)', value: ({ nodes }) => nodes.join(', ') },
  {
    ...{ id: 'created', header: heads.created, width: '160px', value: ({ createdAt }: Image) => createdAt },
    cell: ({ createdAt }) => timeText(createdAt),
  },
];

const keyOf = ({ name }: Image): string => name;

/** See the module's comment. */
export function ImagesPage() {
  const images = useList('image');
  const { search, setSearch } = useSearch();
  return (
    <Page
      title={TEXTS.pages.images}
      isFilled
      actions={
        <Button size="xs" onClick={() => setSearch({ do: 'upload' })}>
          {texts.upload}
        </Button>
      }
    >
      <DataTable
        label={TEXTS.pages.images}
        rows={images}
        columns={COLUMNS}
        keyOf={keyOf}
        empty={<Empty title={texts.empty}>{texts.emptyHint}</Empty>}
      />
      {search['do'] === 'upload' ? <UploadImage onClose={() => setSearch({ do: '' })} /> : null}
    </Page>
  );
}
