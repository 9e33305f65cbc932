/** People and machines with access: API tokens, tokens for machines that join, sessions. */
import { Button } from '@mantine/core';
import { useLogOut } from '../../app/session.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Page, Section } from '../../ui/page.tsx';
import { JoinTokens } from './join-tokens.tsx';
import { Sessions } from './sessions.tsx';
import { Tokens } from './tokens.tsx';

/** See the module's comment. */
export function SettingsPage() {
  const everywhere = useLogOut({ everywhere: true });
  return (
    <Page title={TEXTS.pages.settings}>
      <Section title={TEXTS.settings.tokens}>
        <Tokens />
      </Section>
      <Section title={TEXTS.settings.joinTokens}>
        <JoinTokens />
      </Section>
      <Section
        title={TEXTS.settings.sessions}
        actions={
          <Button size="xs" variant="default" loading={everywhere.isPending} onClick={() => everywhere.mutate()}>
            {TEXTS.settings.logOutEverywhere}
          </Button>
        }
      >
        <Sessions />
      </Section>
    </Page>
  );
}
