/**
 * Known mistakes, made on purpose, to show that the simulator notices: at least one for each way in which fencing
 * usually goes wrong.
 */
import { CodedError } from '../../base/errors.ts';
import type { Generation } from '../../base/ids.ts';
import type { ClusterStore, Write } from '../../control/store/cluster-store.ts';
import type { HostRecord, TaskRecord } from '../../core/model/cluster.ts';
import { PREFIX } from '../../core/model/keys.ts';
import { expectedIncarnations, type VmRecord } from '../../core/model/vm.ts';
import type { Daemon, DiskBackend } from '../../core/ports/disk-backend.ts';
import type { QmpLink } from '../../core/ports/qmp-link.ts';
import type { ClusterView } from '../../core/storage/cluster-view.ts';
import type { PlantedBug } from './planted-bug.ts';
import { DRAIN_BUGS } from './planted-drains.ts';
import { MEMBER_BUGS } from './planted-members.ts';
import { REQUEST_BUGS } from './planted-requests.ts';
import { ROLL_BUGS } from './planted-rolls.ts';
import { VERDICT_BUGS } from './planted-verdicts.ts';
import { boundQmp as bound, rewriting } from './planting.ts';
import { drawSwarm } from './swarm.ts';

const FENCING = [
  'G5-cont-current-and-fenced',
  'W1-writes-follow-generations',
  'W2-one-writer',
  'D1-acknowledged-writes-survive',
];
/** The rule that a cluster breaks that does not converge. */
const STUCK = 'L1-converges';

/** In no order. */
export const PLANTED_BUGS: readonly PlantedBug[] = [
  ...REQUEST_BUGS,
  ...DRAIN_BUGS,
  ...MEMBER_BUGS,
  ...ROLL_BUGS,
  ...VERDICT_BUGS,
  {
    name: 'skip-the-fence',
    says: 'a fence that does nothing and says it did',
    rules: FENCING,
    plant: (ports) => ({ ...ports, storage: { ...ports.storage, fence: async () => ({ revoked: [] }) } }),
  },
  {
    name: 'fence-after-start',
    says: 'an incarnation is continued before its fence is acknowledged',
    rules: FENCING,
    plant: (ports) => ({
      ...ports,
      storage: {
        ...ports.storage,
        fence: async (...order) => {
          ports.clock.after(1_000, () => void ports.storage.fence(...order).catch(() => undefined));
          return { revoked: [] };
        },
      },
    }),
  },
  {
    name: 'silence-is-a-fence',
    says: 'a storage node that does not acknowledge a fence is taken to have carried it out',
    rules: FENCING,
    plant: (ports) => ({
      ...ports,
      storage: { ...ports.storage, fence: (...order) => ports.storage.fence(...order).catch(() => ({ revoked: [] })) },
    }),
  },
  {
    name: 'forget-one-storage-node',
    says: 'only the first storage node is fenced',
    rules: FENCING,
    plant: (ports) => ({
      ...ports,
      storage: {
        ...ports.storage,
        fence: async (node, ...order) => (node === 's1' ? ports.storage.fence(node, ...order) : { revoked: [] }),
      },
    }),
  },
  {
    name: 'shared-disks-are-not-fenced',
    says: 'a storage node that holds only shared disks of a VM is not fenced',
    rules: ['G5-cont-current-and-fenced', 'G6-nothing-else-granted'],
    plant: (ports) => ({
      ...ports,
      storage: {
        ...ports.storage,
        fence: async (node, order, options) =>
          order.disks.length === 0 ? { revoked: [] } : ports.storage.fence(node, order, options),
      },
    }),
  },
  {
    name: 'unplug-is-only-said',
    says: 'a QEMU keeps a shared disk that it was told to let go of',
    rules: [STUCK],
    plant: (ports) => ({ ...ports, qmp: { ...bound(ports.qmp), unplug: async () => undefined } }),
  },
  {
    name: 'ready-checks-are-believed-early',
    says: 'a leader takes a ready-check for succeeded as soon as it has begun',
    rules: ['GC14-ready-before-settled'],
    plant: (ports) => ({
      ...ports,
      guestAgents: {
        ...ports.guestAgents,
        outcome: async () => ({ kind: 'answers', value: { exited: true, exitCode: 0, output: '' } }),
      },
    }),
  },
  {
    name: 'notices-are-not-waited-for',
    says: 'a leader takes every notice for acknowledged as soon as it is given',
    rules: ['GC10-notice-before-move'],
    plant: (ports) => {
      const given = new Map<string, readonly string[]>();
      return {
        ...ports,
        hosts: {
          ...ports.hosts,
          applyNetwork: async (host, order, options) => {
            await ports.hosts.applyNetwork(host, order, options);
            given.set(
              host,
              (order.guests ?? []).flatMap(({ event }) => event?.id ?? []),
            );
          },
          report: async (host, options) => ({
            ...(await ports.hosts.report(host, options)),
            acknowledgedNotices: given.get(host) ?? [],
          }),
        },
      };
    },
  },
  {
    name: 'members-alone',
    says: 'who writes a guest cluster forgets to write its members',
    rules: ['GC4-membership-agrees'],
    plantStore: (store) => {
      const transact = store.transact.bind(store);
      store.transact = (writes, guard, unchanged) => {
        const isCluster = writes.some(({ key }) => key.startsWith(PREFIX.guestCluster));
        const kept = isCluster ? writes.filter(({ key }) => !key.startsWith(PREFIX.vm)) : writes;
        return transact(kept, guard, unchanged);
      };
    },
  },
  {
    name: 'seed-goes-first',
    says: 'housekeeping deletes the seed that a disk is about to be made from',
    rules: ['F1-needed-files-stay', STUCK],
    plant: (ports) => ({
      ...ports,
      storage: {
        ...ports.storage,
        createDisk: async (node, disk, order, options) => {
          const { source, term } = order;
          if (source.kind === 'content')
            await ports.files.remove(node, source.artifact, { term }, { deadlineMs: 1_000 }).catch(() => undefined);
          return ports.storage.createDisk(node, disk, order, options);
        },
      },
    }),
  },
  {
    name: 'copies-are-not-compared',
    says: 'a storage node keeps the copy of an image without comparing it with its hash',
    rules: ['F2-files-are-what-they-say'],
    storageMistakes: { keepsAnyFile: true },
  },
  {
    name: 'housekeeping-takes-what-runs',
    says: 'housekeeping deletes a task that still runs with those that ended',
    rules: ['T1-tasks-end-once'],
    plantStore: (store) => {
      const transact = store.transact.bind(store);
      const isTidying = (write: Write): boolean => write.value === null && write.key.startsWith(PREFIX.task);
      store.transact = (writes, guard, unchanged) => {
        const running = [...store.tasks.entries].find(([, { value }]) => value.state === 'running');
        const more =
          running === undefined || !writes.every(isTidying)
            ? []
            : [{ key: PREFIX.task + running[0], value: null, expect: null }];
        return transact([...writes, ...more], guard, unchanged);
      };
    },
  },
  {
    name: 'no-election-key',
    says: 'transactions of a leader compare no election key',
    rules: ['E1-only-leaders-decide', 'C1-hosts-have-room', 'T1-tasks-end-once', ...FENCING],
    plantStore: (store) => {
      const transact = store.transact.bind(store);
      store.transact = (writes, _guard, unchanged) => transact(writes, null, unchanged);
    },
  },
  {
    name: 'no-revision',
    says: 'transactions of a leader do not compare the VM they were decided from',
    rules: ['T1-tasks-end-once', 'T2-stops-last', 'T3-wishes-kept', 'G1-generations-grow', 'G3-one-current'],
    plantStore: (store) =>
      rewriting(store, (write, isLeaders) =>
        isLeaders && write.key.startsWith(PREFIX.vm) ? { ...write, expect: null } : write,
      ),
  },
  {
    name: 'grant-before-reading-etcd',
    says: 'a storage service that restarts grants what it knew of etcd before, not what etcd says now',
    rules: ['G4-grants-admitted', ...FENCING],
    plantStorage: (parts) => {
      const { name, readCluster } = parts;
      return {
        ...parts,
        readCluster: async () => {
          const known = views.get(name);
          const view = await readCluster();
          if (known?.disks.size === view.disks.size && known.vms.size === view.vms.size) return known;
          views.set(name, view);
          return view;
        },
      };
    },
    reset: () => views.clear(),
  },
  {
    name: 'hard-stop-admits',
    says: 'a power-off admits its generation until it is recorded as stopped',
    rules: ['G4-grants-admitted', ...FENCING],
    plantStorage: (parts, { truth }) => ({
      ...parts,
      readCluster: async () => {
        const view = await parts.readCluster();
        const vms = new Map(view.vms);
        for (const [id, seen] of vms) {
          const phase = truth.tables.vm.get(id)?.phase;
          if (phase?.kind !== 'stopping' || phase.mode !== 'hard') continue;
          const { generation } = phase.incarnation;
          vms.set(id, { ...seen, floor: generation, admitted: [generation] });
        }
        return { ...view, vms };
      },
    }),
  },
  {
    name: 'revoked-exports-live-on',
    says: 'a daemon answers that an export is gone and goes on serving it, and nobody looks at its connections',
    rules: FENCING,
    plantStorage: (parts) => ({ ...parts, disks: withoutConnections(withDaemons(parts.disks, keepingExports)) }),
  },
  {
    name: 'no-drain-at-fence',
    says: 'a fence is acknowledged while writes of the fenced generation are on their way to the disk',
    rules: FENCING,
    storageMistakes: { removesWithoutDraining: true },
  },
  {
    name: 'acknowledge-before-durable',
    says: 'a write is acknowledged before it is on the disk',
    rules: ['D1-acknowledged-writes-survive'],
    storageMistakes: { acknowledgesFirst: true },
  },
  {
    name: 'commit-after-cont',
    says: 'a migration continues its destination as soon as it is complete, before the switch is committed',
    rules: ['G5-cont-current-and-fenced', 'W2-one-writer'],
    plant: (ports, { truth }) => {
      const { qmp } = ports;
      const observe: QmpLink['observe'] = async (target) => {
        const seen = await qmp.observe(target);
        const phase = truth.tables.vm.get(target.vm)?.phase;
        const isDestination = phase?.kind === 'migrating' && phase.destination.generation === target.generation;
        if (isDestination && seen.kind === 'answers' && seen.status === 'paused') await qmp.cont(target);
        return seen;
      };
      return { ...ports, qmp: { ...bound(qmp), observe } };
    },
  },
  {
    name: 'halted-guests-are-sent-as-they-are',
    says: 'a guest that arrived halted and was never continued is sent on without its disks being taken into use',
    rules: ['M3-no-order-aborts-a-qemu'],
    plant: (ports) => ({ ...ports, qmp: { ...bound(ports.qmp), activate: async () => undefined } }),
  },
  {
    name: 'believe-the-destination',
    says: 'a destination is believed to be complete without its source saying so',
    rules: ['M1-switch-when-both-paused', 'D1-acknowledged-writes-survive'],
    plant: (ports) => {
      const { qmp } = ports;
      const observe: QmpLink['observe'] = async (target) => {
        const seen = await qmp.observe(target);
        const standsStill = seen.kind === 'answers' && seen.status === 'finish-migrate';
        return standsStill ? { ...seen, status: 'postmigrate', migration: null } : seen;
      };
      return { ...ports, qmp: { ...bound(qmp), observe } };
    },
  },
  {
    name: 'destination-stays-granted',
    says: 'a migration that is undone leaves its destination granted',
    rules: ['G6-nothing-else-granted', 'G5-cont-current-and-fenced'],
    plant: (ports) => ({ ...ports, storage: { ...ports.storage, revoke: async () => undefined } }),
  },
  {
    name: 'lost-by-one-heartbeat',
    says: 'one missed heartbeat is taken for a lost host',
    rules: ['V1-lost-when-unreached', 'V2-lost-when-out-of-reach'],
    plant: (ports) => ({
      ...ports,
      paths: { list: () => ports.paths.list(), probe: async () => ({ outcome: 'silent', lateMs: 0 }) },
    }),
  },
  {
    name: 'the-lead-is-kept',
    says: 'a leader that reaches no host and no storage node leads on, whoever else reaches them',
    rules: ['L2-leader-sees'],
    plant: (ports) => ({ ...ports, reach: { ...ports.reach, peers: () => [] } }),
  },
  {
    name: 'generation-reused',
    says: 'a VM that is started again keeps its generation',
    rules: ['G3-one-current', 'G4-grants-admitted', 'G1-generations-grow', ...FENCING],
    plantStore: (store) =>
      rewritingVms(store, (vm) => {
        if (vm.phase.kind !== 'starting' || vm.generation < 2) return vm;
        const generation = (vm.generation - 1) as Generation;
        return { ...vm, generation, phase: { ...vm.phase, incarnation: { ...vm.phase.incarnation, generation } } };
      }),
  },
  {
    name: 'capacity-not-counted',
    says: 'every VM is started on the first host',
    rules: ['C1-hosts-have-room'],
    plantStore: (store) => rewritingVms(store, (vm) => startedOn(vm, [...store.hosts.values()][0]?.value)),
  },
  {
    name: 'anti-affinity-ignored',
    says: 'a VM is started where another one of its group is',
    rules: ['C3-groups-stay-apart', 'C1-hosts-have-room'],
    plantStore: (store) =>
      rewritingVms(store, (vm) => {
        const group = vm.spec.antiAffinity;
        const other = [...store.vms.values()].find(
          ({ value }) =>
            value.id !== vm.id && group !== null && value.spec.antiAffinity === group && value.phase.kind !== 'stopped',
        );
        const [there] = other === undefined ? [] : expectedIncarnations(other.value.phase);
        return there === undefined ? vm : startedOn(vm, store.hosts.get(there.host)?.value);
      }),
  },
  {
    name: 'task-forgotten',
    says: 'the end of a task is not written with what it waited for',
    rules: ['T3-wishes-kept', STUCK],
    plantStore: (store) =>
      rewriting(store, (write) =>
        write.key.startsWith(PREFIX.task) && (write.value as TaskRecord | null)?.state === 'succeeded' ? null : write,
      ),
  },
  {
    name: 'stop-does-not-last',
    says: 'a VM that was stopped as somebody asked for is started again',
    rules: ['T2-stops-last'],
    plantStore: (store) =>
      rewritingVms(store, (vm) => (vm.phase.kind === 'stopped' && !vm.deleting ? { ...vm, intent: 'running' } : vm)),
  },
  {
    name: 'stopped-is-removed',
    says: 'a VM that was stopped is removed, though nobody asked for that',
    rules: ['T4-nothing-forgotten'],
    plantStore: (store) =>
      rewriting(store, (write, isLeaders) => {
        const vm = write.key.startsWith(PREFIX.vm) ? (write.value as VmRecord | null) : null;
        return isLeaders && vm?.phase.kind === 'stopped' ? { ...write, value: null } : write;
      }),
  },
  {
    name: 'detour-is-a-crash',
    says: 'a guest whose QMP answers by a detour only is taken for one that panicked',
    rules: ['V3-what-runs-stays'],
    // Hosts lose one of their networks, and nothing else happens: other runs seldom have a detour.
    swarm: (seed) => ({ ...drawSwarm(seed), faults: new Map([['cut-host-network', 2_500]]) }),
    plant: (ports) => {
      const { qmp } = ports;
      const observe: QmpLink['observe'] = async (target) => {
        const seen = await qmp.observe(target);
        return seen.kind === 'answers' && seen.via !== 'direct' ? { ...seen, status: 'guest-panicked' } : seen;
      };
      return { ...ports, qmp: { ...bound(qmp), observe } };
    },
  },
  {
    name: 'quarantine-never-lifted',
    says: 'a host that was given up and is back stays quarantined',
    rules: [STUCK],
    plantStore: (store) =>
      rewriting(store, (write, isLeaders) => {
        if (!isLeaders || !write.key.startsWith(PREFIX.host)) return write;
        const before = store.hosts.get(write.key.slice(PREFIX.host.length))?.value.quarantine ?? null;
        return before === null ? write : { ...write, value: { ...(write.value as HostRecord), quarantine: before } };
      }),
  },
  {
    name: 'tunnels-stay',
    says: 'the tunnel of a host that was given up is dropped by nobody',
    rules: ['P1-lost-tunnels-dropped'],
    plant: (ports) => ({
      ...ports,
      hosts: {
        ...ports.hosts,
        applyNetwork: (host, plan, options) => ports.hosts.applyNetwork(host, { ...plan, drop: [] }, options),
        launch: (host, order, options) =>
          ports.hosts.launch(host, { ...order, network: { ...order.network, drop: [] } }, options),
      },
    }),
  },
  {
    name: 'stale-processes-stay',
    says: 'a process that no record names is not ended',
    rules: [STUCK],
    plant: (ports) => ({
      ...ports,
      hosts: {
        ...ports.hosts,
        kill: async (host, order, options) =>
          order.reason.startsWith('phase ') ? ports.hosts.kill(host, order, options) : { killed: [] },
      },
    }),
  },
  {
    name: 'a-bad-value-ends-the-server',
    says: 'a server ends when etcd holds a value that is no record',
    rules: ['no-server-ends'],
    plantStore: (store) => {
      store.onChange(() => {
        const [key] = store.unreadable.keys();
        if (key !== undefined) throw new CodedError('failed', `What etcd holds at ${key} is not JSON.`);
      });
    },
  },
];

/** Of `grant-before-reading-etcd`: what each node's service read first. */
const views = new Map<string, ClusterView>();

/** The mistake of that name, or CodedError 'bad-input'. */
export function findBug(name: string): PlantedBug {
  const bug = PLANTED_BUGS.find((other) => other.name === name);
  if (bug !== undefined) return bug;
  throw new CodedError('bad-input', `There is no planted bug ${JSON.stringify(name)}.`, {
    advice: `Known are: ${PLANTED_BUGS.map((other) => other.name).join(', ')}.`,
  });
}

/** Changes the VMs that a leader writes. */
function rewritingVms(store: ClusterStore, change: (vm: VmRecord) => VmRecord): void {
  rewriting(store, (write, isLeaders) => {
    if (!isLeaders || !write.key.startsWith(PREFIX.vm) || write.value === null) return write;
    return { ...write, value: change(write.value as VmRecord) };
  });
}

/** The same start on another host, in a slot of its own. */
function startedOn(vm: VmRecord, host: HostRecord | undefined): VmRecord {
  if (vm.phase.kind !== 'starting' || host === undefined) return vm;
  const slot = 500 + Number.parseInt(vm.id.slice(-6), 16);
  return { ...vm, phase: { ...vm.phase, incarnation: { ...vm.phase.incarnation, host: host.name, slot } } };
}

function withDaemons(disks: DiskBackend, change: (daemon: Daemon) => Daemon): DiskBackend {
  return new Proxy(disks, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      if (property !== 'startDaemon' && property !== 'adoptDaemon') return value.bind(target);
      return async (...args: unknown[]) => change((await Reflect.apply(value, target, args)) as Daemon);
    },
  });
}

/** Nobody is seen to be connected. */
function withoutConnections(disks: DiskBackend): DiskBackend {
  return new Proxy(disks, {
    get: (target, property) => {
      if (property === 'connectionsTo') return async () => [];
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function keepingExports(daemon: Daemon): Daemon {
  return new Proxy(daemon, {
    get: (target, property) => {
      if (property === 'removeExport') return async () => undefined;
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
