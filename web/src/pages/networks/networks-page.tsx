/** All networks. */
import { Button, Checkbox, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { dataOf, http } from '../../api/client.ts';
import type { Network } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { useSearch } from '../../ui/address.ts';
import type { Column } from '../../ui/columns.ts';
import { GpCommand } from '../../ui/command.tsx';
import { DataTable } from '../../ui/data-table.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { gpCommand } from '../../ui/gp-commands.ts';
import { tell } from '../../ui/notices.tsx';
import { Empty, Page, Problem } from '../../ui/page.tsx';

const { network: texts } = TEXTS;
const { columns: heads } = texts;
const yesNo = (value: boolean): string => (value ? TEXTS.yes : TEXTS.no);

const COLUMNS: readonly Column<Network>[] = [
  {
    ...{ id: 'name', header: heads.name, width: 'minmax(130px, 1fr)', value: ({ name }: Network) => name },
    cell: ({ name }) => <Link to={`/networks/${name}` as '/'}>{name}</Link>,
  },
  { id: 'cidr', header: heads.cidr, width: 'minmax(130px, 1fr)', value: ({ cidr }) => cidr },
  { id: 'gateway', header: heads.gateway, width: 'minmax(110px, 1fr)', value: ({ gateway }) => gateway },
  { id: 'dhcp', header: heads.dhcp, width: '90px', value: ({ dhcp }) => yesNo(dhcp), isFacet: true },
  { id: 'nat', header: heads.nat, width: '90px', value: ({ nat }) => yesNo(nat), isFacet: true },
  {
    ...{ id: 'addresses', header: heads.addresses, width: '110px', align: 'right' },
    value: ({ reservations }) => reservations.length,
  },
  { id: 'vni', header: heads.vni, width: '90px', align: 'right', value: ({ vni }) => vni },
];

const keyOf = ({ name }: Network): string => name;

/** See the module's comment. */
export function NetworksPage() {
  const networks = useList('network');
  const { search, setSearch } = useSearch();
  return (
    <Page
      title={TEXTS.pages.networks}
      isFilled
      actions={
        <Button size="xs" onClick={() => setSearch({ do: 'create' })}>
          {texts.create}
        </Button>
      }
    >
      <DataTable
        label={TEXTS.pages.networks}
        rows={networks}
        columns={COLUMNS}
        keyOf={keyOf}
        empty={<Empty title={texts.empty}>{texts.emptyHint}</Empty>}
      />
      {search['do'] === 'create' ? <CreateNetwork onClose={() => setSearch({ do: '' })} /> : null}
    </Page>
  );
}

function CreateNetwork({ onClose }: { readonly onClose: () => void }) {
  const [form, setForm] = useState({ name: '', cidr: '', dhcp: false, nat: false });
  const create = useMutation({
    meta: { shownInPlace: true },
    mutationFn: () => {
      const { cidr, ...others } = form;
      return dataOf(http.POST('/v1/networks', { body: cidr === '' ? others : form }));
    },
    onSuccess: ({ name }) => {
      tell(TEXTS.actionBegan(texts.create, name));
      onClose();
    },
  });
  const { name, cidr, dhcp, nat } = form;
  return (
    <Dialog
      title={texts.create}
      action={TEXTS.create}
      isDisabled={name === '' || create.isPending}
      onClose={onClose}
      onAct={() => create.mutate()}
    >
      <TextInput
        label={heads.name}
        value={name}
        required
        onChange={({ currentTarget: { value } }) => setForm({ ...form, name: value })}
      />
      <TextInput
        label={heads.cidr}
        placeholder="10.30.0.0/24"
        value={cidr}
        onChange={({ currentTarget: { value } }) => setForm({ ...form, cidr: value })}
      />
      <Checkbox
        label={texts.dhcpLong}
        checked={dhcp}
        onChange={({ currentTarget: { checked } }) => setForm({ ...form, dhcp: checked })}
      />
      <Checkbox
        label={texts.natLong}
        checked={nat}
        onChange={({ currentTarget: { checked } }) => setForm({ ...form, nat: checked })}
      />
      {create.error === null ? null : <Problem error={create.error} />}
      <GpCommand command={gpCommand(['network', 'create', name === '' ? 'NAME' : name], { cidr, dhcp, nat })} />
    </Dialog>
  );
}
