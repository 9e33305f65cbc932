/**
 * The lab of a one-machine cluster: its machines with their processes, faults as buttons, and the cluster's reaction as
 * it happens.
 */
import { Button, Menu } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import { labQuery } from '../../api/queries.ts';
import type { Lab, VmRow } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { byName, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { GpCommand } from '../../ui/command.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { Mark, VerdictMark } from '../../ui/mark.tsx';
import { Page, Problem, Section, Waiting } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import './faults.css';

const { faults: texts } = TEXTS;
type Machine = Lab['machines'][number];
type Fault = Lab['faults'][number];

/** The verbs that undo faults: they are shown apart from the faults. */
const UNDO = ['heal-host', 'restore', 'thaw'];
const EVENTS_SHOWN = 12;

interface Injected {
  readonly verb: string;
  readonly target?: string;
}

/** See the module's comment. */
export function FaultsPage() {
  const { data: lab, error } = useQuery(labQuery);
  const cache = useQueryClient();
  const [last, setLast] = useState<Injected | null>(null);
  const inject = useMutation({
    meta: { shownInPlace: true },
    mutationFn: (fault: Injected) => dataOf(http.POST('/v1/lab/faults', { body: fault })),
    onMutate: setLast,
    onSuccess: (after) => cache.setQueryData(labQuery.queryKey, after),
  });
  if (lab === undefined)
    return <Page title={texts.title}>{error === null ? <Waiting /> : <Problem error={error} />}</Page>;
  const act = (verb: string, target: string): void => inject.mutate({ verb, target });
  return (
    <Page
      title={texts.title}
      actions={
        <Button size="xs" loading={inject.isPending} onClick={() => inject.mutate({ verb: 'restore' })}>
          {texts.restoreAll}
        </Button>
      }
    >
      <p className="hint">{texts.about}</p>
      {inject.error === null ? null : <Problem error={inject.error} />}
      {error === null ? null : <Problem error={error} />}
      {last === null ? null : (
        <GpCommand command={gpCommand(['lab', last.verb, ...(last.target === undefined ? [] : [last.target])])} />
      )}
      {(['control', 'storage', 'host'] as const).map((kind) => (
        <Section key={kind} title={texts.kinds[kind]}>
          <div className="lab-machines">
            {lab.machines
              .filter((machine) => machine.kind === kind)
              .toSorted((a, b) => byName(a.name, b.name))
              .map((machine) => (
                <MachineCard key={machine.name} machine={machine} faults={lab.faults} act={act} />
              ))}
          </div>
        </Section>
      ))}
      <LastEvents />
    </Page>
  );
}

interface CardProps {
  readonly machine: Machine;
  readonly faults: readonly Fault[];
  readonly act: (verb: string, target: string) => void;
}

function MachineCard({ machine, faults, act }: CardProps) {
  const { name, kind, power, cutFrom, processes } = machine;
  const vms = useList('vm-row').filter(({ host }) => kind === 'host' && host === name);
  const possible = faults.filter(({ verb, on }) => on.includes(kind) && !UNDO.includes(verb));
  const isHurt = power === 'off' || cutFrom.length > 0 || processes.some(({ state }) => state !== 'running');
  return (
    <section className={`lab-machine ${power === 'off' ? 'is-off' : ''}`} aria-label={name}>
      <header>
        <h3>{name}</h3>
        <Mark tone={power === 'on' ? 'good' : 'bad'}>{texts.power[power === 'on' ? 'on' : 'off']}</Mark>
      </header>
      <ul className="plain-list">
        {processes.map(({ role, state }) => (
          <li key={role}>
            <Mark tone={state === 'running' ? 'good' : 'bad'}>
              {role}: {state}
            </Mark>
          </li>
        ))}
        {cutFrom.length === 0 ? null : (
          <li>
            <Mark tone="bad">{texts.cutFrom(cutFrom.join(', '))}</Mark>
          </li>
        )}
        {vms.map((vm) => (
          <OneVm key={vm.id} vm={vm} />
        ))}
      </ul>
      <div className="page-actions">
        {isHurt ? (
          <Button size="xs" variant="light" onClick={() => act('restore', name)}>
            {texts.restore(name)}
          </Button>
        ) : null}
        <Menu position="bottom-end" transitionProps={{ duration: 0 }} withinPortal={false} width={300}>
          <Menu.Target>
            <Button size="xs" variant="default" color="red">
              {texts.fault(name)}
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {possible.map(({ verb, summary }) => (
              <Menu.Item key={verb} onClick={() => act(verb, name)}>
                {verb}
                <span className="refusal">{summary}</span>
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      </div>
    </section>
  );
}

function OneVm({ vm: { name, verdict } }: { readonly vm: VmRow }) {
  return (
    <li>
      <Link to={`/vms/${name}` as '/'}>{name}</Link> <VerdictMark verdict={verdict} />
    </li>
  );
}

function LastEvents() {
  const events = useList('event').slice(-EVENTS_SHOWN).toReversed();
  return (
    <Section title={texts.events}>
      <SmallTable
        heads={texts.eventHeads}
        rows={events.map(({ revision, at, kind, vm, host, message }) => ({
          key: `${revision} ${kind} ${vm} ${host}`,
          cells: [timeText(at), kind, vm ?? '', host ?? '', message],
        }))}
      />
    </Section>
  );
}
