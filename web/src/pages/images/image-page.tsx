/** One image. */
import { Button } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import { dataOf, http } from '../../api/client.ts';
import type { Image } from '../../api/types.ts';
import { useItem } from '../../live/lists.ts';
import { bytesText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import { Dialog } from '../../ui/dialog.tsx';
import { tell } from '../../ui/notices.tsx';
import { Facts, Page, Section, Waiting } from '../../ui/page.tsx';

const { image: texts } = TEXTS;

/** See the module's comment. */
export function ImagePage() {
  const { image: name } = useParams({ strict: false }) as { readonly image: string };
  const image = useItem('image', name);
  if (image === undefined)
    return (
      <Page title={name}>
        <Waiting />
      </Page>
    );
  const { columns } = texts;
  return (
    <Page title={name} actions={<DeleteImage image={image} />}>
      <Section title={texts.title}>
        <Facts
          facts={[
            [columns.boot, image.direct === null ? (image.disk?.format ?? TEXTS.none) : texts.direct],
            ...(image.disk === null
              ? []
              : [
                  [columns.size, bytesText(image.disk.virtualSizeBytes)] as const,
                  [texts.fileSize, bytesText(image.disk.sizeBytes)] as const,
                  ['SHA-256', <code key="sha256">{image.disk.sha256}</code>] as const,
                ]),
            ...(image.direct === null
              ? []
              : [[texts.append, <code key="append">{image.direct.append}</code>] as const]),
            [columns.memory, bytesText(image.defaults.memoryBytes)],
            [TEXTS.vm.columns.vcpus, String(image.defaults.vcpus)],
            [columns.nodes, image.nodes.join(', ')],
            [columns.created, timeText(image.createdAt)],
          ]}
        />
      </Section>
    </Page>
  );
}

function DeleteImage({ image: { name, revision } }: { readonly image: Image }) {
  const { search, setSearch } = useSearch();
  const navigate = useNavigate();
  const remove = useMutation({
    mutationFn: () =>
      dataOf(
        http.DELETE('/v1/images/{image}', { params: { path: { image: name }, header: { 'If-Match': revision } } }),
      ),
    onSuccess: () => {
      tell(TEXTS.actionBegan(TEXTS.vmActions.delete, name));
      void navigate({ to: '/images' });
    },
  });
  const close = (): void => setSearch({ do: '' });
  return (
    <>
      <Button size="xs" variant="default" onClick={() => setSearch({ do: 'delete' })}>
        {TEXTS.vmActions.delete}
      </Button>
      {search['do'] === 'delete' ? (
        <Dialog
          title={TEXTS.actionBegan(TEXTS.vmActions.delete, name)}
          action={TEXTS.vmActions.delete}
          isDangerous
          onClose={close}
          onAct={() => {
            close();
            remove.mutate();
          }}
        >
          <p>{texts.deleteWarning}</p>
        </Dialog>
      ) : null}
    </>
  );
}
