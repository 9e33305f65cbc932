/** One host. */
import { Button } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { dataOf, http } from '../../api/client.ts';
import { hostActionsQuery, hostQuery } from '../../api/queries.ts';
import type { Host } from '../../api/types.ts';
import { useList } from '../../live/lists.ts';
import { bytesText, durationText, percentOf, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { ActionButton } from '../../ui/action-button.tsx';
import { useSearch } from '../../ui/address.ts';
import { HostState } from '../../ui/host-state.tsx';
import { Meter, VerdictMark } from '../../ui/mark.tsx';
import { tell } from '../../ui/notices.tsx';
import { Facts, Page, Problem, Section, Waiting } from '../../ui/page.tsx';
import { Possible } from '../../ui/possible.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { Tabs } from '../../ui/tabs.tsx';
import { DeclareLost } from './declare-lost.tsx';
import { HostDrain } from './host-drain.tsx';

const { host: texts } = TEXTS;

/** See the module's comment. */
export function HostPage() {
  const { host: name } = useParams({ strict: false }) as { readonly host: string };
  const { data: host, error } = useQuery(hostQuery(name));
  if (host === undefined) return <Page title={name}>{error === null ? <Waiting /> : <Problem error={error} />}</Page>;
  return (
    <Page title={host.name} state={<HostState host={host} />} actions={<HostActions host={host} />}>
      <Tabs
        label={texts.parts}
        tabs={[
          { key: 'overview', title: texts.tabs.overview, content: () => <Overview host={host} /> },
          { key: 'drain', title: texts.tabs.drain, content: () => <HostDrain host={host} /> },
        ]}
      />
    </Page>
  );
}

function HostActions({ host }: { readonly host: Host }) {
  const { setSearch } = useSearch();
  const actions = useQuery(hostActionsQuery(host.name)).data;
  const cordon = useMutation({
    mutationFn: (cordoned: boolean) =>
      dataOf(http.PATCH('/v1/hosts/{host}', { params: { path: { host: host.name } }, body: { cordoned } })),
    onSuccess: ({ cordoned }) => tell(TEXTS.actionBegan(cordoned ? texts.cordon : texts.uncordon, host.name)),
  });
  const undrain = useMutation({
    mutationFn: () => dataOf(http.POST('/v1/hosts/{host}/undrain', { params: { path: { host: host.name } } })),
    onSuccess: () => tell(TEXTS.actionBegan(texts.undrain, host.name)),
  });
  return (
    <>
      {host.maintenance === null ? (
        <Button size="xs" onClick={() => setSearch({ tab: 'drain' })}>
          {texts.drain}
        </Button>
      ) : (
        <ActionButton variant="filled" action="undrain" {...{ actions }} onAct={() => undrain.mutate()}>
          {texts.undrain}
        </ActionButton>
      )}
      <ActionButton
        action={host.cordoned ? 'uncordon' : 'cordon'}
        {...{ actions }}
        onAct={() => cordon.mutate(!host.cordoned)}
      >
        {host.cordoned ? texts.uncordon : texts.cordon}
      </ActionButton>
      {host.agent === 'alive' ? null : <DeclareLost name={host.name} {...{ actions }} />}
    </>
  );
}

function Overview({ host }: { readonly host: Host }) {
  const vms = useList('vm').filter((vm) => vm.host === host.name);
  const { vm } = TEXTS;
  return (
    <div className="columns">
      <HostFacts host={host} />
      <Section title={TEXTS.pages.vms}>
        <SmallTable
          heads={[vm.columns.name, vm.columns.verdict, vm.columns.memory, vm.columns.guestCluster]}
          rows={vms.map(({ id, name, verdict, spec, guestCluster }) => ({
            key: id,
            cells: [
              <Link key="name" to={`/vms/${name}` as '/'}>
                {name}
              </Link>,
              <VerdictMark key="verdict" verdict={verdict} />,
              bytesText(spec.memoryBytes),
              guestCluster ?? '',
            ],
          }))}
        />
      </Section>
    </div>
  );
}

function HostFacts({ host }: { readonly host: Host }) {
  const { columns, facts } = texts;
  const { drain, loss } = host.evacuability;
  const { memoryUsedBytes: used, memoryTotalBytes: total } = host;
  return (
    <Section title={texts.state}>
      <Facts
        facts={[
          [
            columns.drainable,
            <span key="drainable">
              <Possible answer={drain.possible} />
              {drain.foretoldMs === null ? null : <p>{TEXTS.host.takes(durationText(drain.foretoldMs))}</p>}
              {drain.because.map((reason) => (
                <p key={reason}>{reason}</p>
              ))}
            </span>,
          ],
          [
            columns.losable,
            <span key="losable">
              <Possible answer={loss.possible} />
              {[...loss.tied.map((vm) => TEXTS.host.tied(vm)), ...loss.because].map((reason) => (
                <p key={reason}>{reason}</p>
              ))}
            </span>,
          ],
          [
            facts.agent,
            host.agentAgeMs === null ? host.agent : `${host.agent}, ${TEXTS.vm.ago(durationText(host.agentAgeMs))}`,
          ],
          [columns.rack, host.rack ?? TEXTS.none],
          [
            columns.used,
            <span key="used">
              <Meter part={used} whole={total} label={texts.memoryOf(host.name)} /> {percentOf(used, total)} %,{' '}
              {bytesText(used)} {TEXTS.summary.of(bytesText(total))}
            </span>,
          ],
          [columns.cpus, String(host.vcpus)],
          [columns.accelerator, host.accelerator],
          [facts.cpuModels, host.cpuModels.join(', ') || TEXTS.none],
          [
            facts.addresses,
            <span key="addresses">
              {host.addresses.control} / {host.addresses.storage} / {host.addresses.overlay}
            </span>,
          ],
          [facts.joined, timeText(host.joinedAt)],
          ...(host.lost === null
            ? []
            : [[facts.removal, [texts.lostBy(host.lost.by), ...host.lost.waitsFor].join(' ')] as const]),
          ...(host.quarantineReason === null ? [] : [[facts.quarantine, host.quarantineReason] as const]),
          ...(host.maintenance?.reason == null ? [] : [[facts.maintenance, host.maintenance.reason] as const]),
        ]}
      />
    </Section>
  );
}
