/** Saves what a page shows as a file, in one of several forms. */
import { Button, Menu } from '@mantine/core';
import { TEXTS } from '../texts/texts.ts';

/** One form: `content` is asked for when somebody chooses it. */
export interface ExportForm {
  readonly name: string;
  readonly type: 'text/markdown' | 'text/csv' | 'application/json';
  readonly content: () => string;
}

/** Name of the file by its type. */
const ENDINGS = { 'text/markdown': 'md', 'text/csv': 'csv', 'application/json': 'json' } as const;

/** `file`: name without its ending. `forms` null: there is nothing to save yet. */
export function ExportMenu({ file, forms }: { readonly file: string; readonly forms: readonly ExportForm[] | null }) {
  const save = ({ type, content }: ExportForm): void => {
    const url = URL.createObjectURL(new Blob([content()], { type }));
    const link = Object.assign(document.createElement('a'), { href: url, download: `${file}.${ENDINGS[type]}` });
    link.click();
    URL.revokeObjectURL(url);
  };
  return (
    <Menu position="bottom-end" transitionProps={{ duration: 0 }} withinPortal={false} width={220}>
      <Menu.Target>
        <Button size="xs" variant="default" disabled={forms === null}>
          {TEXTS.exportAs}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        {(forms ?? []).map((form) => (
          <Menu.Item key={form.type} onClick={() => save(form)}>
            {form.name}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
