/** The actions that one VM allows now; a forbidden one says why. */
import { Button, Menu, NativeSelect, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { NeedsAcceptance, type ToAccept } from '../../../../src/base/problem.ts';
import { vmActionsQuery } from '../../api/queries.ts';
import type { VmDetail } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { SigningFields, WhatBreaks } from '../../ui/accept-form.tsx';
import { acceptOf, signedCommand, UNSIGNED } from '../../ui/acceptance.ts';
import { ActionButton, ActionItem } from '../../ui/action-button.tsx';
import { useSearch } from '../../ui/address.ts';
import { GpCommand } from '../../ui/command.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { Problem } from '../../ui/page.tsx';
import { useVmAction, type VmAction } from '../../ui/vm-actions.ts';

const { vmActions: names } = TEXTS;

/** See the module's comment. */
export function VmActions({ vm }: { readonly vm: VmDetail }) {
  const { search, setSearch } = useSearch();
  const act = useVmAction({ signedInPlace: true });
  const [toSign, setToSign] = useState<ToAccept | null>(null);
  const begin = (action: VmAction): void => {
    const onError = (error: unknown): void => {
      if (error instanceof NeedsAcceptance) setToSign(error.acceptance);
    };
    act.mutate({ vm: vm.name, action }, { onError });
  };
  const ask = (what: string): void => setSearch({ do: what });
  const actions = useQuery(vmActionsQuery(vm.name)).data;
  const isOff = vm.intent === 'stopped';
  return (
    <>
      {isOff ? (
        <ActionButton variant="filled" action="start" {...{ actions }} onAct={() => begin({ verb: 'start' })}>
          {names.start}
        </ActionButton>
      ) : (
        <ActionButton action="stop" {...{ actions }} onAct={() => begin({ verb: 'stop', mode: 'acpi' })}>
          {names.stop}
        </ActionButton>
      )}
      <ActionButton action="migrate" {...{ actions }} onAct={() => ask('migrate')}>
        {names.migrate}
      </ActionButton>
      <Menu position="bottom-end" transitionProps={{ duration: 0 }} withinPortal={false} width={280}>
        <Menu.Target>
          <Button size="xs" variant="default">
            {TEXTS.more}
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <ActionItem action="stop" {...{ actions }} onAct={() => begin({ verb: 'stop', mode: 'hard' })}>
            {TEXTS.vm.stopHard}
          </ActionItem>
          {(['reset', 'suspend', 'resume'] as const).map((verb) => (
            <ActionItem key={verb} action={verb} {...{ actions }} onAct={() => begin({ verb })}>
              {names[verb]}
            </ActionItem>
          ))}
          <Menu.Divider />
          <ActionItem action="delete" color="red" {...{ actions }} onAct={() => ask('delete')}>
            {names.delete}
          </ActionItem>
        </Menu.Dropdown>
      </Menu>
      {toSign === null ? null : <SignStart vm={vm} what={toSign} onClose={() => setToSign(null)} />}
      {search['do'] === 'migrate' ? <Migrate vm={vm} onClose={() => ask('')} begin={begin} /> : null}
      {search['do'] === 'delete' ? <Delete vm={vm} onClose={() => ask('')} begin={begin} /> : null}
    </>
  );
}

interface DialogProps {
  readonly vm: VmDetail;
  readonly onClose: () => void;
  readonly begin: (action: VmAction) => void;
}

interface SignProps {
  readonly vm: VmDetail;
  readonly what: ToAccept;
  readonly onClose: () => void;
}

/** A start that was refused, and is made if somebody signs for it. */
function SignStart({ vm, what, onClose }: SignProps) {
  const [signing, setSigning] = useState(UNSIGNED);
  const start = useVmAction({ shownInPlace: true });
  const accept = acceptOf(signing);
  return (
    <Dialog
      title={TEXTS.actionBegan(names.start, vm.name)}
      action={names.start}
      isDisabled={accept === null || start.isPending}
      onClose={onClose}
      onAct={() => {
        if (accept === null) return;
        start.mutate({ vm: vm.name, action: { verb: 'start', accept } }, { onSuccess: onClose });
      }}
    >
      <p>{TEXTS.accept.legend}</p>
      <WhatBreaks what={what} />
      <SigningFields signing={signing} onChange={setSigning} />
      {start.error === null ? null : <Problem error={start.error} />}
      <GpCommand command={signedCommand(gpCommand(['vm', 'start', vm.name]), signing)} />
    </Dialog>
  );
}

function Migrate({ vm, onClose, begin }: DialogProps) {
  const hosts = useList('host').filter(({ name }) => name !== vm.host);
  const [to, setTo] = useState('');
  const options = [{ value: '', label: TEXTS.vm.anyHost }, ...hosts.map(({ name }) => ({ value: name, label: name }))];
  return (
    <Dialog
      title={TEXTS.actionBegan(names.migrate, vm.name)}
      action={names.migrate}
      onClose={onClose}
      onAct={() => {
        begin({ verb: 'migrate', to: to === '' ? null : to });
        onClose();
      }}
    >
      <NativeSelect
        label={TEXTS.vm.destination}
        data={options}
        value={to}
        onChange={({ currentTarget }) => setTo(currentTarget.value)}
      />
      <GpCommand command={gpCommand(['vm', 'migrate', vm.name], { to })} />
    </Dialog>
  );
}

function Delete({ vm, onClose, begin }: DialogProps) {
  const [typed, setTyped] = useState('');
  const navigate = useNavigate();
  return (
    <Dialog
      title={TEXTS.actionBegan(names.delete, vm.name)}
      action={names.delete}
      isDangerous
      isDisabled={typed !== vm.name}
      onClose={onClose}
      onAct={() => {
        begin({ verb: 'delete' });
        void navigate({ to: '/vms' });
      }}
    >
      <p>{TEXTS.vm.deleteWarning}</p>
      <TextInput
        label={TEXTS.vm.typeName(vm.name)}
        value={typed}
        onChange={({ currentTarget }) => setTyped(currentTarget.value)}
      />
      <GpCommand command={gpCommand(['vm', 'delete', vm.name])} />
    </Dialog>
  );
}
