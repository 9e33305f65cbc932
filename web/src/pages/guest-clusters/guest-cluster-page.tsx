/** One guest cluster: members and hosts, shared disks, who holds which key and reservation. */
import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { guestClusterQuery } from '../../api/queries.ts';
import type { GuestCluster } from '../../api/types.ts';
import { bytesText, durationText, percentOf, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Mark, Meter, VerdictMark } from '../../ui/mark.tsx';
import { Facts, Page, Problem, Section, Waiting } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { EditLimits } from './edit-limits.tsx';

const { guestCluster: texts } = TEXTS;

/** See the module's comment. */
export function GuestClusterPage() {
  const { guestCluster: name } = useParams({ strict: false }) as { readonly guestCluster: string };
  const { data: cluster, error } = useQuery(guestClusterQuery(name));
  if (cluster === undefined)
    return <Page title={name}>{error === null ? <Waiting /> : <Problem error={error} />}</Page>;
  return (
    <Page title={name} state={<Mark tone={cluster.disturbed.length > 0 ? 'warn' : 'good'}>{stateOf(cluster)}</Mark>}>
      <Section title={texts.limits}>
        <Facts
          facts={[
            [texts.columns.tolerates, cluster.toleratesMs === null ? TEXTS.none : durationText(cluster.toleratesMs)],
            [texts.maxDisturbed, String(cluster.maxDisturbed ?? TEXTS.none)],
            [texts.columns.disturbed, cluster.disturbed.join('; ') || TEXTS.none],
            [texts.heartbeatNetworks, cluster.heartbeatNetworks.join(', ') || TEXTS.none],
            [texts.notice, cluster.noticeMs === null ? texts.noNotice : durationText(cluster.noticeMs)],
            [texts.readyCheck, readyCheckText(cluster)],
            [texts.quiet, cluster.quiet.join('; ') || TEXTS.none],
            [texts.sharesHosts, cluster.sharesHosts ? TEXTS.yes : TEXTS.no],
          ]}
        />
      </Section>
      <Members cluster={cluster} />
      <Pauses cluster={cluster} />
      {cluster.declared && cluster.revision !== null ? <EditLimits key={cluster.name} cluster={cluster} /> : null}
      {cluster.disks.map((disk) => (
        <SharedDisk key={disk.id} disk={disk} />
      ))}
    </Page>
  );
}

function readyCheckText({ readyCheck }: GuestCluster): string {
  return readyCheck === null
    ? texts.noReadyCheck
    : texts.readyWithin(readyCheck.command, durationText(readyCheck.withinMs));
}

function stateOf({ disturbed, deleting }: GuestCluster): string {
  if (deleting) return texts.deleting;
  return disturbed.length === 0 ? texts.calm : texts.disturbedNow(disturbed.length);
}

type Member = GuestCluster['members'][number];

function Members({ cluster }: { readonly cluster: GuestCluster }) {
  return (
    <Section title={texts.columns.members}>
      <SmallTable
        heads={texts.memberHeads}
        rows={cluster.members.map((member) => ({
          key: member.id,
          cells: [
            <Link key="vm" to={`/vms/${member.vm}` as '/'}>
              {member.vm}
            </Link>,
            <VerdictMark key="verdict" verdict={member.verdict} />,
            member.host ?? '',
            member.generation,
            <Notice key="notice" notice={member.notice} />,
            <May key="migrate" may={member.may.migrate} />,
            <May key="drain" may={member.may.drain} />,
            <May key="snapshot" may={member.may.snapshot} />,
          ],
        }))}
      />
    </Section>
  );
}

function Notice({ notice }: Pick<Member, 'notice'>) {
  if (notice === null) return null;
  const { state, ended, givenAt, notBefore } = notice;
  return (
    <Mark tone={state === 'over' ? 'off' : 'warn'}>
      {texts.noticeStates[state]}
      <span className="hint">
        {ended === null ? texts.notBefore(timeText(notBefore)) : texts.noticeEnded[ended]}, {timeText(givenAt)}
      </span>
    </Mark>
  );
}

/** The pause that the guests' heartbeat tolerates, beside the pauses of past moves and the predicted one. */
function Pauses({ cluster: { members, toleratesMs } }: { readonly cluster: GuestCluster }) {
  return (
    <Section title={texts.pauses}>
      <SmallTable
        heads={texts.pauseHeads}
        rows={members.map(({ id, vm, pause: { foretoldMs, because, measuredMs } }) => ({
          key: id,
          cells: [
            vm,
            measuredMs.map((ms) => durationText(ms)).join(', ') || texts.neverMoved,
            <span key="foretold" title={because}>
              {durationText(foretoldMs)}
            </span>,
            toleratesMs === null ? (
              TEXTS.none
            ) : (
              <span key="share">
                <Meter part={foretoldMs} whole={toleratesMs} label={texts.pauseOf(vm)} />{' '}
                {percentOf(foretoldMs, toleratesMs)} %
              </span>
            ),
            toleratesMs !== null && foretoldMs > toleratesMs ? texts.tooLong : because,
          ],
        }))}
      />
    </Section>
  );
}

function May({ may: { allowed, reason } }: { readonly may: Member['may']['migrate'] }) {
  return (
    <Mark tone={allowed ? 'good' : 'warn'}>
      {allowed ? TEXTS.yes : TEXTS.no}
      {reason === null ? null : <span className="hint">{reason}</span>}
    </Mark>
  );
}

function SharedDisk({ disk }: { readonly disk: GuestCluster['disks'][number] }) {
  const { reservation } = disk;
  const since = reservation?.since ?? null;
  return (
    <Section title={texts.diskTitle(disk.name, bytesText(disk.sizeBytes))}>
      {disk.error === null ? null : <p className="problem">{disk.error}</p>}
      <Facts
        facts={[
          [texts.node, disk.node],
          [texts.wwn, disk.wwn],
          [
            texts.reservation,
            reservation === null
              ? TEXTS.none
              : texts.reservedBy(reservation.type, reservation.holder, since === null ? null : timeText(since)),
          ],
        ]}
      />
      <SmallTable
        heads={texts.keyHeads}
        rows={disk.registrations.map(({ vm, initiator, key, since }) => ({
          key: `${initiator} ${key}`,
          cells: [vm ?? texts.goneVm, <code key="key">{key}</code>, since === null ? '' : timeText(since)],
        }))}
      />
    </Section>
  );
}
