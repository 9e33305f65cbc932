/** The upload of an image, with its progress. */
import { TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { bytesText, percentOf } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { tell } from '../../ui/notices.tsx';
import { Problem } from '../../ui/page.tsx';
import { type UploadProgress, uploadFile } from './upload-file.ts';

const { image: texts } = TEXTS;

/** See the module's comment. */
export function UploadImage({ onClose }: { readonly onClose: () => void }) {
  const [name, setName] = useState('');
  const [file, setFile] = useState<File | null>(null);
  const [progress, setProgress] = useState<UploadProgress | null>(null);
  const ending = useRef(new AbortController());
  const upload = useMutation({
    meta: { shownInPlace: true },
    mutationFn: async (chosen: File) => {
      const { signal } = ending.current;
      const disk = await uploadFile({ file: chosen, onProgress: setProgress, signal });
      return dataOf(http.PUT('/v1/images/{image}', { params: { path: { image: name } }, body: { disk } }));
    },
    onSuccess: () => {
      tell(TEXTS.actionBegan(texts.upload, name));
      onClose();
    },
  });
  const close = (): void => {
    ending.current.abort();
    onClose();
  };
  return (
    <Dialog
      title={texts.upload}
      action={texts.upload}
      isDisabled={name === '' || file === null || upload.isPending}
      onClose={close}
      onAct={() => {
        if (file !== null) upload.mutate(file);
      }}
    >
      <TextInput
        label={texts.columns.name}
        required
        value={name}
        onChange={({ currentTarget }) => setName(currentTarget.value)}
      />
      <label className="file">
        <span>{texts.file}</span>
        <input type="file" onChange={({ currentTarget }) => setFile(currentTarget.files?.[0] ?? null)} />
      </label>
      {upload.isPending && progress !== null ? <Progress progress={progress} /> : null}
      {upload.error === null ? null : <Problem error={upload.error} />}
      <GpCommand command={gpCommand(['image', 'import', name === '' ? 'NAME' : name, file?.name ?? 'FILE'])} />
    </Dialog>
  );
}

function Progress({ progress: { step, doneBytes, totalBytes } }: { readonly progress: UploadProgress }) {
  return (
    <div role="status">
      <progress max={totalBytes} value={doneBytes} aria-label={texts.steps[step]} />
      <p className="hint">
        {texts.steps[step]}: {percentOf(doneBytes, totalBytes)} %, {bytesText(doneBytes)}{' '}
        {TEXTS.summary.of(bytesText(totalBytes))}
      </p>
    </div>
  );
}
