/** All hosts. */
import { TEXTS } from '../../texts/texts.ts';
import { Page } from '../../ui/page.tsx';
import { HostTable } from './host-table.tsx';

/** See the module's comment. */
export function HostsPage() {
  return (
    <Page title={TEXTS.pages.hosts} isFilled>
      <HostTable />
    </Page>
  );
}
