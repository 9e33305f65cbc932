/**
 * The order that a host's agent starts a QEMU by, made from records: the same records and credentials give the same
 * order.
 */
import { assert } from '../../../../base/assert.ts';
import { CodedError } from '../../../../base/errors.ts';
import type { Generation } from '../../../../base/ids.ts';
import type { DiskRecord } from '../../../model/cluster.ts';
import { PORTS } from '../../../model/ports.ts';
import { accountName, initiatorName, targetName } from '../../../model/shared-disk-identity.ts';
import { startedSharedDisks, type VmRecord, type VmSharedDisk } from '../../../model/vm.ts';
import {
  GUEST_AGENT,
  type LaunchDisk,
  type LaunchMachine,
  type LaunchOrder,
  type LaunchSharedDisk,
  SHARED_DISKS,
} from '../../../ports/host-link.ts';
import type { Snapshot } from '../../../ports/store.ts';
import type { Credentials } from '../acknowledgements.ts';
import { type StepContext, type StepHandler, sharedDiskOf, standing } from './step-context.ts';

type Launch = Parameters<StepHandler<'launch'>>[1];

/**
 * Makes the whole order. CodedError 'not-found' if a network is gone, 'unavailable' while a shared disk's record or
 * secret is not known.
 */
export async function launchOrder(
  context: StepContext,
  { incarnation, incoming }: Launch,
  credentials: Credentials,
): Promise<LaunchOrder> {
  const { ports, vm } = context;
  const { store, networkPlan } = ports;
  const { snapshot } = store;
  const { generation } = incarnation;
  const disks = new Map(snapshot.disksOf(vm.id).map((disk) => [disk.id, disk]));
  return {
    term: store.term,
    vm: vm.id,
    vmName: vm.name,
    generation,
    slot: incarnation.slot,
    incoming,
    ...(incoming && vm.phase.kind === 'migrating' ? { receives: vm.phase.source.generation } : {}),
    machine: launchMachine(snapshot, vm),
    disks: vm.spec.disks.map((use) => launchDisk(context, use, disks.get(use.disk), generation)),
    ...(vm.spec.sharedDisks === undefined ? {} : { sharedDisks: await launchSharedDisks(context, generation) }),
    ...needsOf(vm),
    nics: vm.spec.nics.map(({ mac, network }) => {
      const record = snapshot.networks.get(network);
      if (record === undefined) throw new CodedError('not-found', `Network ${network} of ${vm.name} is gone.`);
      return { mac, network, vni: record.value.vni };
    }),
    credentials,
    network: networkPlan(incarnation.host),
  };
}

/** The facts that an agent needs to make this machine. */
function needsOf({ spec }: VmRecord): Pick<LaunchOrder, 'needs'> {
  const needs = [
    ...(spec.sharedDisks === undefined ? [] : [SHARED_DISKS]),
    ...(spec.guestAgent === true ? [GUEST_AGENT] : []),
  ];
  return needs.length === 0 ? {} : { needs };
}

/** The machine gets the controller even without shared disks: some may be added later. */
async function launchSharedDisks(context: StepContext, generation: Generation): Promise<readonly LaunchSharedDisk[]> {
  const { ports, vm } = context;
  return Promise.all(
    standing(ports.store, startedSharedDisks(vm)).map((use) => launchSharedDisk(context, use, generation)),
  );
}

/** How one incarnation reaches a shared disk. */
export async function launchSharedDisk(
  { ports: { store, credentials }, vm }: StepContext,
  use: VmSharedDisk,
  generation: Generation,
): Promise<LaunchSharedDisk> {
  const { node: name } = sharedDiskOf(store, use.disk);
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

function launchDisk(
  { ports: { store, storageTlsName }, vm }: StepContext,
  use: VmRecord['spec']['disks'][number],
  disk: DiskRecord | undefined,
  generation: Generation,
): LaunchDisk {
  const node = disk === undefined ? undefined : store.snapshot.storage.get(disk.node);
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
      tlsName: storageTlsName(disk.node),
    },
    patienceMs: vm.spec.storagePatienceMs,
  };
}

function launchMachine(snapshot: Snapshot, vm: VmRecord): LaunchMachine {
  const { vcpus, memoryBytes, cpuModel, boot, display, guestAgent } = vm.spec;
  const nodes = [...snapshot.storage.values()].filter(({ value }) => value.lost === undefined);
  const from = nodes.map(({ value }) => ({
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
      direct === null || direct.initrd === null ? null : { sha256: direct.initrd, sizeBytes: direct.initrdBytes, from },
    append: direct === null ? null : direct.append,
    ...(display === undefined ? {} : { display }),
    ...(guestAgent === undefined ? {} : { guestAgent }),
  };
}
