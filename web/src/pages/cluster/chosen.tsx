/** Details of the host or the VM that is chosen in the picture. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { hostQuery, vmQuery } from '../../api/queries.ts';
import type { Host, Vm } from '../../api/types.ts';
import type { Estate } from '../../live/estate.ts';
import { useItem } from '../../live/lists.ts';
import type { Choice } from '../../picture/choice.ts';
import { tiesOf } from '../../picture/tie-links.ts';
import { bytesText, percentOf } from '../../texts/format.ts';
import { TEXTS } from '../../texts/texts.ts';
import { HostState } from '../../ui/host-state.tsx';
import { Tag, VerdictMark } from '../../ui/mark.tsx';
import { Facts } from '../../ui/page.tsx';
import { Possible } from '../../ui/possible.tsx';
import { ChosenTies, type ShownTie } from './chosen-ties.tsx';

interface ChosenProps {
  readonly estate: Estate;
  readonly chosen: Choice | null;
  readonly ties: readonly ShownTie[];
}

/** See the module's comment. */
export function Chosen({ estate, chosen, ties }: ChosenProps) {
  const row = useItem('vm-row', chosen?.vm ?? null);
  const vm = useQuery({ ...vmQuery(row?.name ?? ''), enabled: row !== undefined }).data;
  const isHost = row === undefined && estate.hosts.some(({ name }) => name === chosen?.host);
  const host = useQuery({ ...hostQuery(chosen?.host ?? ''), enabled: isHost }).data;
  return (
    <aside className="chosen" aria-label={TEXTS.chosen.label} aria-live="polite">
      {row !== undefined && vm !== undefined ? <ChosenVm vm={vm} /> : null}
      {isHost && host !== undefined ? <ChosenHost host={host} /> : null}
      {row === undefined && !isHost ? null : <ChosenTies ties={tiesOf(row ?? chosen?.host ?? '', ties)} />}
      {row === undefined && !isHost ? <p className="hint">{TEXTS.picture.hint}</p> : null}
    </aside>
  );
}

function ChosenHost({ host }: { readonly host: Host }) {
  const { columns } = TEXTS.host;
  return (
    <>
      <h2>
        <Link to={`/hosts/${host.name}` as '/'}>{host.name}</Link>
      </h2>
      <Facts
        facts={[
          [columns.state, <HostState key="state" host={host} />],
          [columns.rack, host.rack ?? TEXTS.none],
          [
            columns.used,
            `${percentOf(host.memoryUsedBytes, host.memoryTotalBytes)} % ${TEXTS.summary.of(bytesText(host.memoryTotalBytes))}`,
          ],
          [columns.vms, String(host.vms.length)],
          [columns.drainable, <Possible key="drain" answer={host.evacuability.drain.possible} />],
        ]}
      />
      {host.evacuability.drain.because.map((reason) => (
        <p key={reason} className="hint">
          {reason}
        </p>
      ))}
    </>
  );
}

function ChosenVm({ vm }: { readonly vm: Vm }) {
  const { columns } = TEXTS.vm;
  return (
    <>
      <h2>
        <Link to={`/vms/${vm.name}` as '/'}>{vm.name}</Link>
      </h2>
      <Facts
        facts={[
          [columns.verdict, <VerdictMark key="verdict" verdict={vm.verdict} />],
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
          [columns.memory, bytesText(vm.spec.memoryBytes)],
          [columns.vcpus, String(vm.spec.vcpus)],
          [columns.generation, String(vm.generation)],
          [columns.guestCluster, vm.guestCluster === null ? TEXTS.none : <Tag key="cluster">{vm.guestCluster}</Tag>],
        ]}
      />
      <h3>{TEXTS.vm.because}</h3>
      <ul className="plain-list hint">
        {vm.because.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
    </>
  );
}
