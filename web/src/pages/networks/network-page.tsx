/** One network with the addresses that it has given. */
import { Link, useParams } from '@tanstack/react-router';
import { useItem } from '../../live/lists.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Facts, Page, Section, Waiting } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';

const { network: texts } = TEXTS;

/** See the module's comment. */
export function NetworkPage() {
  const { network: name } = useParams({ strict: false }) as { readonly network: string };
  const network = useItem('network', name);
  if (network === undefined)
    return (
      <Page title={name}>
        <Waiting />
      </Page>
    );
  const { columns } = texts;
  return (
    <Page title={name}>
      <Section title={texts.title}>
        <Facts
          facts={[
            [columns.cidr, network.cidr ?? TEXTS.none],
            [columns.gateway, network.gateway ?? TEXTS.none],
            [columns.dhcp, network.dhcp ? TEXTS.yes : TEXTS.no],
            [columns.nat, network.nat ? TEXTS.yes : TEXTS.no],
            [columns.vni, String(network.vni)],
          ]}
        />
      </Section>
      <Section title={columns.addresses}>
        <SmallTable
          heads={texts.addressHeads}
          rows={network.reservations.map(({ mac, address, vm, hostname }) => ({
            key: mac,
            cells: [
              address,
              mac,
              <Link key="vm" to={`/vms/${vm}` as '/'}>
                {vm}
              </Link>,
              hostname,
            ],
          }))}
        />
      </Section>
    </Page>
  );
}
