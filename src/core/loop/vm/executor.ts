/**
 * Carries out steps. One handler per step; each is idempotent and makes no choice. What was acknowledged is kept per VM for as long as
 * this leader leads, and forgotten with it.
 */
import { assert, unreachable } from '../../../base/assert.ts';
import { CodedError } from '../../../base/errors.ts';
import type { DiskId, Generation, HostName, StorageName } from '../../../base/ids.ts';
import type { DiskRecord } from '../../model/cluster.ts';
import type { SharedDiskRecord } from '../../model/guest-cluster.ts';
import { PORTS } from '../../model/ports.ts';
import { accountName, initiatorName, targetName } from '../../model/shared-disk-identity.ts';
import {
  heldSharedDisks,
  type Incarnation,
  sharedDisksOf,
  startedSharedDisks,
  type VmRecord,
  type VmSharedDisk,
} from '../../model/vm.ts';
import type { Acknowledged, Step } from '../../plan/vm/steps.ts';
import {
  type HostLink,
  type LaunchMachine,
  type LaunchOrder,
  type LaunchSharedDisk,
  type NetworkPlan,
  SHARED_DISKS,
} from '../../ports/host-link.ts';
import type { QmpLink, QmpTarget } from '../../ports/qmp-link.ts';
import type { StorageLink } from '../../ports/storage-link.ts';
import type { LeaderStore } from '../../ports/store.ts';

type Credentials = LaunchOrder['credentials'];
type Launch = Extract<Step, { do: 'launch' }>;
type Share = Extract<Step, { do: 'share' }>;

/** Issues what one incarnation proves itself by. */
export interface CredentialIssuer {
  /** Its certificate: client of its disks, server of its QMP. */
  issue(vm: VmRecord['id'], generation: Generation): Promise<Credentials>;
  /** The secret with which an account logs in at the targets. CodedError 'unavailable' while the cluster's key for it cannot be read. */
  targetSecret(account: string): Promise<string>;
}

/** What a storage node has of one VM. */
interface OnNode {
  readonly own: readonly DiskRecord[];
  /** Whether the VM has, or is just losing, a shared disk there. */
  readonly hasShared: boolean;
}

export interface ExecutorPorts {
  readonly store: LeaderStore;
  readonly hosts: HostLink;
  readonly storage: StorageLink;
  readonly qmp: QmpLink;
  readonly credentials: CredentialIssuer;
  /** The name a storage node's certificate carries. */
  readonly storageTlsName: (node: StorageName) => string;
  /** The network state a host should have now. */
  readonly networkPlan: (host: HostName) => NetworkPlan;
}

/** Deadlines of single orders, in ms. */
const DEADLINE = { fence: 3_000, grant: 5_000, launch: 15_000, kill: 5_000, disk: 30_000 } as const;

/** The mutable side of Acknowledged. */
export interface Ledger extends Acknowledged {
  /** Being issued for a generation while it is committed and its disks are granted: its launch follows. */
  issuing: { readonly generation: Generation; readonly credentials: Promise<Credentials> } | null;
  fencedBelow: number;
  readonly sharedFences: Map<StorageName, number>;
  shared: Acknowledged['shared'];
  continued: Acknowledged['continued'];
  readonly granted: Set<Generation>;
  readonly launched: Set<Generation>;
  readonly neverContinued: Map<Generation, number | null>;
  readonly listening: Set<Generation>;
  readonly activated: Set<Generation>;
  readonly sent: Set<Generation>;
  readonly revoked: Set<Generation>;
  readonly ended: Set<Generation>;
  readonly resisted: Set<Generation>;
  standingSince: number | null;
  readonly poweredDown: Map<Generation, number>;
  reset: Acknowledged['reset'];
  diskError: Acknowledged['diskError'];
  failure: Acknowledged['failure'];
}

/** What a leader knows of a VM's effects at the beginning of its term: nothing. */
export function emptyLedger(): Ledger {
  return {
    issuing: null,
    fencedBelow: 0,
    sharedFences: new Map(),
    shared: null,
    continued: null,
    granted: new Set(),
    launched: new Set(),
    neverContinued: new Map(),
    listening: new Set(),
    activated: new Set(),
    sent: new Set(),
    revoked: new Set(),
    ended: new Set(),
    resisted: new Set(),
    standingSince: null,
    poweredDown: new Map(),
    reset: null,
    diskError: null,
    failure: null,
  };
}

/** Turns steps into orders on the ports; holds no state of its own. */
export class Executor {
  readonly #ports: ExecutorPorts;

  constructor(ports: ExecutorPorts) {
    this.#ports = ports;
  }

  /** Carries out `step` for `vm` and notes it in `ledger`. Throws CodedError; then nothing is noted. */
  async perform(vm: VmRecord, step: Step, ledger: Ledger): Promise<void> {
    const { qmp } = this.#ports;
    switch (step.do) {
      case 'create-disk':
        return this.#createDisk(step.disk);
      case 'delete-disk':
        return this.#deleteDisk(step.disk);
      case 'fence':
        return this.#fence(vm, step.below, ledger);
      case 'grant':
        if (vm.phase.kind === 'running') {
          // A disk that was made since the last sharing is granted with the others: what the nodes have is not what that step named.
          ledger.shared = null;
          const held = this.#madeSharedDisks(vm);
          await this.#grantAgain(vm, { generation: step.generation, held }, ledger);
        } else {
          if (ledger.issuing?.generation !== step.generation) this.beginIssuing(vm, step.generation, ledger);
          await this.#grant(vm, step.generation, startedSharedDisks(vm));
        }
        ledger.granted.add(step.generation);
        return;
      case 'revoke':
        await this.#revoke(vm, step.generation);
        ledger.granted.delete(step.generation);
        ledger.revoked.add(step.generation);
        return;
      case 'launch':
        return this.#launch(vm, step, ledger);
      case 'cont':
        return qmp.cont(this.target(vm, step.incarnation));
      case 'halt':
        return qmp.halt(this.target(vm, step.incarnation));
      case 'reset':
        await qmp.reset(this.target(vm, step.incarnation));
        ledger.reset = vm.resetRequest?.taskId ?? null;
        return;
      case 'power-down':
        return qmp.powerDown(this.target(vm, step.incarnation));
      case 'end':
        await this.#end(vm, step.incarnation, step.by);
        ledger.ended.add(step.incarnation.generation);
        return;
      case 'listen':
        return this.#listen(vm, step.destination, ledger);
      case 'activate':
        await qmp.activate(this.target(vm, step.source));
        ledger.activated.add(step.destination.generation);
        return;
      case 'send':
        await qmp.send(this.target(vm, step.source), this.target(vm, step.destination));
        ledger.sent.add(step.destination.generation);
        return;
      case 'allow-pause':
        return qmp.allowPause(this.target(vm, step.source), step.ms);
      case 'cancel-send':
        return qmp.cancelSend(this.target(vm, step.source));
      case 'share':
        // From its beginning on nobody knows what the QEMU and the nodes have: what they had may be wanted again meanwhile.
        ledger.shared = null;
        await this.#share(vm, step, ledger);
        ledger.shared = { generation: step.incarnation.generation, disks: step.disks };
        return;
      default:
        return unreachable(step);
    }
  }

  /** Where the QEMU of an incarnation is reached. */
  target(vm: VmRecord, incarnation: Incarnation): QmpTarget {
    const host = this.#ports.store.snapshot.hosts.get(incarnation.host);
    if (host === undefined) throw new CodedError('not-found', `Host ${incarnation.host} is not in the cluster.`);
    return {
      vm: vm.id,
      generation: incarnation.generation,
      slot: incarnation.slot,
      host: incarnation.host,
      addresses: host.value.addresses,
    };
  }

  /**
   * Groups the VM's disks by storage node; a shared disk that is not made yet is on none. CodedError
   * 'unavailable' if the record of a shared disk is not known yet.
   */
  #byNode(vm: VmRecord): Map<StorageName, OnNode> {
    const nodes = new Map<StorageName, { own: DiskRecord[]; hasShared: boolean }>();
    const at = (node: StorageName) => {
      const there = nodes.get(node) ?? { own: [], hasShared: false };
      nodes.set(node, there);
      return there;
    };
    for (const disk of this.#ports.store.snapshot.disksOf(vm.id)) at(disk.node).own.push(disk);
    for (const { disk } of sharedDisksOf(vm)) {
      const { node, phase } = this.#sharedDisk(disk);
      if (phase !== 'creating') at(node).hasShared = true;
    }
    return nodes;
  }

  #standing(uses: readonly VmSharedDisk[]): VmSharedDisk[] {
    return uses.filter(({ disk }) => !this.#isLost(this.#sharedDisk(disk).node));
  }

  /** Returns the shared disks that the VM is to have and that exist already. */
  #madeSharedDisks(vm: VmRecord): VmSharedDisk[] {
    return this.#standing(heldSharedDisks(vm)).filter(({ disk }) => this.#sharedDisk(disk).phase !== 'creating');
  }

  #sharedDisk(id: DiskId): SharedDiskRecord {
    const entry = this.#ports.store.snapshot.sharedDisks.get(id);
    if (entry === undefined) throw new CodedError('unavailable', `The record of shared disk ${id} is not known yet.`);
    return entry.value;
  }

  /** Returns true if the node was declared lost: its disks are gone and will never be served again. */
  #isLost(node: StorageName): boolean {
    return this.#ports.store.snapshot.storage.get(node)?.value.lost !== undefined;
  }

  /**
   * Calls all nodes at once, except lost ones. The step fails if a node does not acknowledge: the node may still serve
   * the VM's disk.
   */
  async #onEveryNode(vm: VmRecord, order: (node: StorageName, has: OnNode) => Promise<unknown>): Promise<void> {
    const failures: unknown[] = [];
    const one = async (node: StorageName, has: OnNode): Promise<void> => {
      try {
        await order(node, has);
      } catch (error) {
        failures.push(error);
      }
    };
    const standing = [...this.#byNode(vm)].filter(([node]) => !this.#isLost(node));
    await Promise.all(standing.map(([node, has]) => one(node, has)));
    if (failures.length > 0) throw failures[0];
  }

  async #fence(vm: VmRecord, below: Generation, ledger: Ledger): Promise<void> {
    const { storage, store } = this.#ports;
    await this.#onEveryNode(vm, async (node, { own, hasShared }) => {
      const order = { term: store.term, vm: vm.id, below, disks: own.map((disk) => disk.id) };
      await storage.fence(node, order, { deadlineMs: DEADLINE.fence });
      if (hasShared) ledger.sharedFences.set(node, Math.max(ledger.sharedFences.get(node) ?? 0, below));
    });
    ledger.fencedBelow = Math.max(ledger.fencedBelow, below);
  }

  /** `uses`: the shared disks that the VM has from now on; each is granted on its node. */
  async #grant(vm: VmRecord, generation: Generation, uses: readonly VmSharedDisk[]): Promise<void> {
    const { storage, store } = this.#ports;
    const sharedOn = (node: StorageName): VmSharedDisk[] =>
      uses.flatMap(({ disk, lun }) => (this.#sharedDisk(disk).node === node ? [{ disk, lun }] : []));
    const readOnly = new Set(vm.spec.disks.filter((disk) => disk.role === 'seed').map((disk) => disk.disk));
    await this.#onEveryNode(vm, (node, { own }) => {
      const shared = sharedOn(node);
      return storage.grant(
        node,
        {
          term: store.term,
          vm: vm.id,
          generation,
          disks: own.map((disk) => ({ disk: disk.id, port: disk.port, readOnly: readOnly.has(disk.id) })),
          ...(shared.length === 0 ? {} : { sharedDisks: shared, needs: [SHARED_DISKS] }),
        },
        { deadlineMs: DEADLINE.grant },
      );
    });
  }

  /**
   * What runs may have a shared disk that came since its start, which a list without it would cut. It may also not have it yet: then the fence
   * between is needed as in `#share`. `held`: the shared disks that are granted; a disk that was made since they were named is not.
   */
  async #grantAgain(
    vm: VmRecord,
    { generation, held }: { readonly generation: Generation; readonly held: readonly VmSharedDisk[] },
    ledger: Ledger,
  ): Promise<void> {
    await this.#fence(vm, generation, ledger);
    await this.#grant(vm, generation, held);
  }

  async #revoke(vm: VmRecord, generation: Generation): Promise<void> {
    const { storage, store } = this.#ports;
    await this.#onEveryNode(vm, (node, { own }) =>
      storage.revoke(
        node,
        { term: store.term, vm: vm.id, generation, disks: own.map((disk) => disk.id) },
        { deadlineMs: DEADLINE.fence },
      ),
    );
  }

  /** Making a key and signing its certificate takes as long as a transaction or a grant, and waits for neither; without them nobody uses it. */
  beginIssuing(vm: VmRecord, generation: Generation, ledger: Ledger): void {
    const credentials = this.#ports.credentials.issue(vm.id, generation);
    // Whoever launches hears of a failure; where nobody does, nobody needs to.
    credentials.catch(() => undefined);
    ledger.issuing = { generation, credentials };
  }

  /** Each launch has credentials of its own. */
  #issued(vm: VmRecord, generation: Generation, ledger: Ledger): Promise<Credentials> {
    const { issuing } = ledger;
    ledger.issuing = null;
    return issuing?.generation === generation ? issuing.credentials : this.#ports.credentials.issue(vm.id, generation);
  }

  /**
   * A disk that goes is closed by QEMU before storage refuses it, and one that comes is granted before QEMU opens it. The fence between: a
   * node that had nothing of this VM until now has never heard of its older generations, and one of those may still run somewhere.
   */
  async #share(vm: VmRecord, { incarnation, disks }: Share, ledger: Ledger): Promise<void> {
    const { qmp } = this.#ports;
    const target = this.target(vm, incarnation);
    // What was decided, and not what is made by now: nobody would take back the grant of a disk that the step does not name.
    const named = new Set(disks.split(' '));
    const held = this.#standing(heldSharedDisks(vm)).filter(({ disk, lun }) => named.has(`${disk}@${lun}`));
    const open = await qmp.sharedDisks(target);
    for (const disk of open) if (!held.some((use) => use.disk === disk)) await qmp.unplug(target, disk);
    await this.#grantAgain(vm, { generation: incarnation.generation, held }, ledger);
    for (const use of held)
      if (!open.includes(use.disk))
        await qmp.plug(target, await this.#launchSharedDisk(vm, use, incarnation.generation));
  }

  async #launch(vm: VmRecord, { incarnation, incoming }: Launch, ledger: Ledger): Promise<void> {
    const { hosts, store, networkPlan } = this.#ports;
    const { snapshot } = store;
    const { generation } = incarnation;
    const credentials = await this.#issued(vm, generation, ledger);
    const disks = new Map(snapshot.disksOf(vm.id).map((disk) => [disk.id, disk]));
    const order: LaunchOrder = {
      term: store.term,
      vm: vm.id,
      vmName: vm.name,
      generation,
      slot: incarnation.slot,
      incoming,
      ...(incoming && vm.phase.kind === 'migrating' ? { receives: vm.phase.source.generation } : {}),
      machine: this.#machine(vm),
      disks: vm.spec.disks.map((use) => this.#launchDisk(vm, use, disks.get(use.disk), generation)),
      ...(vm.spec.sharedDisks === undefined ? {} : await this.#launchSharedDisks(vm, generation)),
      nics: vm.spec.nics.map(({ mac, network }) => {
        const record = snapshot.networks.get(network);
        if (record === undefined) throw new CodedError('not-found', `Network ${network} of ${vm.name} is gone.`);
        return { mac, network, vni: record.value.vni };
      }),
      credentials,
      network: networkPlan(incarnation.host),
    };
    const { listens } = await hosts.launch(incarnation.host, order, { deadlineMs: DEADLINE.launch });
    ledger.launched.add(generation);
    if (listens) ledger.listening.add(generation);
  }

  /** With none in it, too: the machine has the controller for those that come. */
  async #launchSharedDisks(vm: VmRecord, generation: Generation): Promise<Pick<LaunchOrder, 'sharedDisks' | 'needs'>> {
    const sharedDisks = await Promise.all(
      this.#standing(startedSharedDisks(vm)).map((use) => this.#launchSharedDisk(vm, use, generation)),
    );
    return { sharedDisks, needs: [SHARED_DISKS] };
  }

  async #launchSharedDisk(vm: VmRecord, use: VmSharedDisk, generation: Generation): Promise<LaunchSharedDisk> {
    const { store, credentials } = this.#ports;
    const { node: name } = this.#sharedDisk(use.disk);
    const node = store.snapshot.storage.get(name);
    assert(node !== undefined, `storage node ${name} of shared disk ${use.disk} has a record`);
    const account = accountName(vm.id, generation);
    return {
      disk: use.disk,
      lun: use.lun,
      address: node.value.addresses.storage,
      port: PORTS.target,
      target: targetName(vm.id),
      initiator: initiatorName(vm.id),
      account,
      secret: await credentials.targetSecret(account),
    };
  }

  #launchDisk(
    vm: VmRecord,
    use: VmRecord['spec']['disks'][number],
    disk: DiskRecord | undefined,
    generation: Generation,
  ): LaunchOrder['disks'][number] {
    const node = disk === undefined ? undefined : this.#ports.store.snapshot.storage.get(disk.node);
    assert(disk !== undefined && node !== undefined, `disk ${use.disk} of ${vm.name} has a record and a node`);
    return {
      disk: disk.id,
      role: use.role,
      bus: use.bus,
      readOnly: use.role === 'seed',
      export: {
        address: node.value.addresses.storage,
        port: disk.port,
        name: `g${generation}`,
        tlsName: this.#ports.storageTlsName(disk.node),
      },
      patienceMs: vm.spec.storagePatienceMs,
    };
  }

  #machine(vm: VmRecord): LaunchMachine {
    const { vcpus, memoryBytes, cpuModel, boot } = vm.spec;
    const standing = [...this.#ports.store.snapshot.storage.values()].filter(({ value }) => value.lost === undefined);
    const from = standing.map(({ value }) => ({
      node: value.name,
      address: value.addresses.storage,
      port: PORTS.storage,
    }));
    const direct = boot.firmware === 'direct' ? boot : null;
    return {
      vcpus,
      memoryBytes,
      cpuModel,
      firmware: boot.firmware,
      kernel: direct === null ? null : { sha256: direct.kernel, sizeBytes: direct.kernelBytes, from },
      initrd:
        direct === null || direct.initrd === null
          ? null
          : { sha256: direct.initrd, sizeBytes: direct.initrdBytes, from },
      append: direct === null ? null : direct.append,
    };
  }

  async #listen(vm: VmRecord, destination: Incarnation, ledger: Ledger): Promise<void> {
    const { phase } = vm;
    assert(phase.kind === 'migrating', 'a destination listens in phase migrating only');
    await this.#ports.qmp.listen(this.target(vm, destination), this.target(vm, phase.source));
    ledger.listening.add(destination.generation);
  }

  async #end(vm: VmRecord, incarnation: Incarnation, by: 'agent' | 'qmp'): Promise<void> {
    const { hosts, qmp, store } = this.#ports;
    if (by === 'qmp') {
      await qmp.quit(this.target(vm, incarnation));
    } else {
      const order = {
        term: store.term,
        vm: vm.id,
        generations: [incarnation.generation],
        reason: `phase ${vm.phase.kind}`,
      };
      await hosts.kill(incarnation.host, order, { deadlineMs: DEADLINE.kill });
    }
    qmp.forget(vm.id, incarnation.generation);
  }

  async #createDisk(id: DiskId): Promise<void> {
    const { store, storage } = this.#ports;
    const entry = store.snapshot.disks.get(id);
    if (entry === undefined) return;
    const disk = entry.value;
    await storage.createDisk(
      disk.node,
      id,
      { term: store.term, vm: disk.vm, sizeBytes: disk.sizeBytes, source: disk.source },
      { deadlineMs: DEADLINE.disk },
    );
    await store.commit({ changes: [{ kind: 'disk', id, value: { ...disk, phase: 'ready' } }], events: [] });
  }

  async #deleteDisk(id: DiskId): Promise<void> {
    const { store, storage } = this.#ports;
    const entry = store.snapshot.disks.get(id);
    if (entry === undefined) return;
    if (!this.#isLost(entry.value.node))
      await storage.deleteDisk(entry.value.node, id, { term: store.term }, { deadlineMs: DEADLINE.disk });
    await store.commit({ changes: [{ kind: 'disk', id, value: null }], events: [] });
  }
}
