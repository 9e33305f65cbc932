/** Consoles of a VM: each in a window of its own, and the last output of the serial one. */
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { vmLogQuery } from '../../api/queries.ts';
import type { VmDetail } from '../../api/types.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { Problem, Section, Waiting } from '../../ui/page.tsx';
import './vm-form.css';

/** See the module's comment. */
export function VmConsole({ vm }: { readonly vm: VmDetail }) {
  const { data: log, error, refetch, isFetching } = useQuery(vmLogQuery(vm.name));
  const hasDisplay = vm.spec.display === 'vga';
  const open = (console: 'serial' | 'vnc'): void => {
    const query = new URLSearchParams({ vm: vm.name, console });
    window.open(`/console.html?${query}`, `${console} ${vm.id}`, 'popup,width=900,height=600');
  };
  return (
    <>
      <Section
        title={TEXTS.vm.serial}
        actions={
          <Button size="xs" onClick={() => open('serial')}>
            {TEXTS.vm.openSerial}
          </Button>
        }
      >
        <GpCommand command={gpCommand(['vm', 'console', vm.name])} />
      </Section>
      <Section
        title={TEXTS.vm.graphical}
        actions={
          hasDisplay ? (
            <Button size="xs" onClick={() => open('vnc')}>
              {TEXTS.vm.openSerial}
            </Button>
          ) : null
        }
      >
        <p className="hint">{hasDisplay ? TEXTS.vm.graphicalHint : TEXTS.vm.noDisplay}</p>
        {hasDisplay ? <GpCommand command={gpCommand(['vm', 'vnc', vm.name])} /> : null}
      </Section>
      <Section
        title={TEXTS.vm.lastOutput}
        actions={
          <Button size="xs" variant="default" loading={isFetching} onClick={() => void refetch()}>
            {TEXTS.vm.readAgain}
          </Button>
        }
      >
        {error !== null ? <Problem error={error} /> : null}
        {log === undefined && error === null ? <Waiting /> : null}
        {log === undefined ? null : (
          <pre className="log" tabIndex={0} role="region" aria-label={TEXTS.vm.lastOutput}>
            {log.text === '' ? TEXTS.none : log.text}
          </pre>
        )}
      </Section>
    </>
  );
}
