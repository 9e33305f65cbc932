/** What ties VMs to hosts and who signed for it; what keeps hosts from being drained; what somebody must look after. */
import { TEXTS } from '../../texts/texts.ts';
import { Page } from '../../ui/page.tsx';
import { Tabs } from '../../ui/tabs.tsx';
import { Reasons } from './reasons.tsx';
import { TiesTable } from './ties-list.tsx';

const { ties: texts } = TEXTS;

/** See the module. */
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
