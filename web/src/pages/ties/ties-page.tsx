/**
 * The ties of VMs to hosts and who signed for them; the reasons why hosts cannot be drained; the things that a person
 * must look after.
 */
import { TEXTS } from '../../texts/texts.ts';
import { Page } from '../../ui/page.tsx';
import { Tabs } from '../../ui/tabs.tsx';
import { Reasons } from './reasons.tsx';
import { TiesTable } from './ties-list.tsx';

const { ties: texts } = TEXTS;

/** See the module's comment. */
export function TiesPage() {
  return (
    <Page title={TEXTS.pages.ties} isFilled>
      <Tabs
        label={texts.parts}
        tabs={[
          { key: 'ties', title: texts.tabs.ties, content: () => <TiesTable /> },
          { key: 'reasons', title: texts.tabs.reasons, content: () => <Reasons /> },
        ]}
      />
    </Page>
  );
}
