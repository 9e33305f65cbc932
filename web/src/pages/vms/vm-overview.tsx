/** A VM: the cluster's verdict and its reasons, and the VM's parts. */
import { Link } from '@tanstack/react-router';
import type { VmDetail } from '../../api/types.ts';
import { bytesText, durationText, timeText } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { Tag, VerdictMark } from '../../ui/mark.tsx';
import { Facts, Section } from '../../ui/page.tsx';
import { SmallTable } from '../../ui/small-table.tsx';
import { VmGuest } from './vm-guest.tsx';

const { vm: texts } = TEXTS;
const ageText = (ageMs: number | null): string => (ageMs === null ? texts.never : texts.ago(durationText(ageMs)));

/** See the module's comment. */
export function VmOverview({ vm }: { readonly vm: VmDetail }) {
  return (
    <div className="columns">
      <div>
        <Belief vm={vm} />
        <Section title={texts.disks}>
          <SmallTable
            heads={texts.diskHeads}
            rows={[
              ...vm.disks.map(({ id, role, bus, sizeBytes, node }) => ({
                key: id,
                cells: [id, role, bus, bytesText(sizeBytes), node ?? '', ''],
              })),
              ...vm.sharedDisks.map(({ id, name, node, lun, state }) => ({
                key: id,
                cells: [name, texts.shared, `LUN ${lun}`, '', node ?? '', state],
              })),
            ]}
          />
        </Section>
        <Section title={texts.nics}>
          <SmallTable
            heads={texts.nicHeads}
            rows={vm.nics.map(({ network, mac, address, state }) => ({
              key: mac,
              cells: [network, mac, address ?? '', state],
            }))}
          />
        </Section>
      </div>
      <div>
        <Specification vm={vm} />
        <VmGuest vm={vm.name} />
      </div>
    </div>
  );
}

/** The observations behind the verdict. */
function Belief({ vm }: { readonly vm: VmDetail }) {
  const { agent, qmp, storage } = vm.observations;
  return (
    <Section title={texts.because}>
      <p>
        <VerdictMark verdict={vm.verdict} />
      </p>
      <ul>
        {vm.because.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
      <SmallTable
        heads={texts.observationHeads}
        rows={[
          {
            key: 'agent',
            cells: [texts.agentOf(agent.host), `${agent.state}, process ${agent.process}`, ageText(agent.ageMs)],
          },
          {
            key: 'qmp',
            cells: ['QMP', qmp.status === null ? qmp.state : `${qmp.state}: ${qmp.status}`, ageText(qmp.ageMs)],
          },
          ...storage.map(({ node, disk, admitted, connected, ageMs }) => ({
            key: `${node} ${disk}`,
            cells: [
              `${node}, ${disk}`,
              texts.storageSays(admitted.join(', ') || TEXTS.none, connected.join(', ') || TEXTS.none),
              ageText(ageMs),
            ],
          })),
        ]}
      />
    </Section>
  );
}

function Specification({ vm }: { readonly vm: VmDetail }) {
  const { columns, facts } = texts;
  const { spec } = vm;
  return (
    <Section title={texts.specification}>
      <Facts
        facts={[
          [
            columns.host,
            vm.host === null ? (
              TEXTS.none
            ) : (
              <Link key="host" to={`/hosts/${vm.host}` as '/'}>
                {vm.host}
              </Link>
            ),
          ],
          ...(vm.destination === null ? [] : [[facts.destination, vm.destination] as const]),
          [columns.generation, String(vm.generation)],
          [facts.intent, vm.intent],
          [facts.phase, `${vm.phase}, ${timeText(vm.phaseSince)}`],
          [columns.vcpus, String(spec.vcpus)],
          [columns.memory, bytesText(spec.memoryBytes)],
          [facts.cpuModel, spec.cpuModel],
          [facts.firmware, spec.firmware],
          [columns.image, spec.image ?? TEXTS.none],
          [facts.restartPolicy, spec.restartPolicy],
          [facts.antiAffinity, spec.antiAffinity ?? TEXTS.none],
          [facts.pin, spec.pin ?? TEXTS.any],
          [
            columns.guestCluster,
            vm.guestCluster === null ? (
              TEXTS.none
            ) : (
              <Link key="cluster" to={`/guest-clusters/${vm.guestCluster}` as '/'}>
                {vm.guestCluster}
              </Link>
            ),
          ],
          [columns.labels, <Labels key="labels" labels={vm.labels} />],
          [facts.created, timeText(vm.createdAt)],
          [facts.id, vm.id],
        ]}
      />
      {vm.failure === null ? null : <p className="problem">{vm.failure.message}</p>}
      {vm.undeclared.map((reason) => (
        <p key={reason} className="hint">
          {reason}
        </p>
      ))}
    </Section>
  );
}

function Labels({ labels }: { readonly labels: VmDetail['labels'] }) {
  const entries = Object.entries(labels);
  if (entries.length === 0) return <>{TEXTS.none}</>;
  return (
    <>
      {entries.map(([key, value]) => (
        <span key={key}>
          <Tag>
            {key}={value}
          </Tag>{' '}
        </span>
      ))}
    </>
  );
}
