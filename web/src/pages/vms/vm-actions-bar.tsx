/** What can be done to one VM. What is not possible now the API refuses, with its reason. */
import { Button, Menu, NativeSelect, TextInput } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import type { VmDetail } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import { GpCommand } from '../../ui/command.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { useVmAction, type VmAction } from '../../ui/vm-actions.ts';

const { vmActions: names } = TEXTS;

/** See the module. */
export function VmActions({ vm }: { readonly vm: VmDetail }) {
  const { search, setSearch } = useSearch();
  const act = useVmAction();
  const begin = (action: VmAction): void => act.mutate({ vm: vm.name, action });
  const ask = (what: string): void => setSearch({ do: what });
  const isOff = vm.intent === 'stopped';
  return (
    <>
      {isOff ? (
        <Button size="xs" loading={act.isPending} onClick={() => begin({ verb: 'start' })}>
          {names.start}
        </Button>
      ) : (
        <Button
          size="xs"
          variant="default"
          loading={act.isPending}
          onClick={() => begin({ verb: 'stop', mode: 'acpi' })}
        >
          {names.stop}
        </Button>
      )}
      <Button size="xs" variant="default" onClick={() => ask('migrate')}>
        {names.migrate}
      </Button>
      <Menu position="bottom-end" transitionProps={{ duration: 0 }} withinPortal={false}>
        <Menu.Target>
          <Button size="xs" variant="default">
            {TEXTS.more}
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item onClick={() => begin({ verb: 'stop', mode: 'hard' })}>{TEXTS.vm.stopHard}</Menu.Item>
          <Menu.Item onClick={() => begin({ verb: 'reset' })}>{names.reset}</Menu.Item>
          <Menu.Item onClick={() => begin({ verb: 'suspend' })}>{names.suspend}</Menu.Item>
          <Menu.Item onClick={() => begin({ verb: 'resume' })}>{names.resume}</Menu.Item>
          <Menu.Divider />
          <Menu.Item color="red" onClick={() => ask('delete')}>
            {names.delete}
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
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
