/** Helpers with which tests arrange a situation in a simulated cluster. */
import { present } from '../../base/assert.ts';
import { type DiskId, parseVmId } from '../../base/ids.ts';
import type { EventRecord } from '../../core/model/cluster.ts';
import type { ReservationRecord } from '../../core/model/guest-cluster.ts';
import { keyOf } from '../../core/model/keys.ts';
import { initiatorName } from '../../core/model/shared-disk-identity.ts';
import { until } from '../../os/testing/until.ts';
import type { ApiCluster } from '../../sim/api/api-cluster.ts';

const NAMES_AT_ONCE = 50;
const FIRST_ID = 0xc00000000000;

const storeOf = (cluster: ApiCluster) => present(cluster.leader.store, 'the store of the leader');

/** Powers a machine off, and waits until the leader knows. */
export async function powerOff({ sim }: ApiCluster, name: string): Promise<void> {
  sim.powerOff(present(sim.machines.get(name), name));
  const storage = [...sim.storage.keys()].find((node) => node === name);
  const host = [...sim.hosts.keys()].find((each) => each === name);
  await until(`${name} is silent`, () => {
    const { controller } = sim;
    if (controller === null) return false;
    if (storage !== undefined) return controller.storageObserver.isSilent(storage);
    return host !== undefined && controller.observer.see(host).agent !== 'alive';
  });
}

/** Writes events in one transaction, as a leader would. */
export async function tell(cluster: ApiCluster, ...events: readonly Partial<EventRecord>[]): Promise<void> {
  const store = storeOf(cluster);
  const about = { vm: null, vmName: null, host: null, generation: null, at: Date.now(), kind: 'told', message: '' };
  await store.transact(
    events.map((event) => store.eventWrite({ ...about, ...event })),
    null,
  );
}

/** A guest has registered its key on a shared disk and reserved it, 90 s ago. */
export async function reserve(cluster: ApiCluster, vm: string, disk: string): Promise<void> {
  const nexus = initiatorName(present(cluster.vms.get(vm), vm).id);
  const since = Date.now() - 90_000;
  const record: ReservationRecord = {
    disk: disk as DiskId,
    state: {
      generation: 1,
      registrations: [{ nexus, key: '0123456789abcdef', isAllTargetPorts: false }],
      reservation: { type: 5, holder: nexus },
    },
    registeredAt: { [nexus]: since },
    reservedAt: since,
  };
  const store = storeOf(cluster);
  await store.transact([{ key: keyOf.reservation(record.disk), value: record, expect: null }], null);
}

/** Creates stopped VMs with these names, by copies of the record of the first. */
export async function fill(cluster: ApiCluster, [first = 'vm0', ...names]: readonly string[]): Promise<void> {
  const store = storeOf(cluster);
  const model = await cluster.backend().vms.create({ name: first, image: 'tiny', start: false });
  const record = present(store.vms.get(model.id)?.value, first);
  for (let at = 0; at < names.length; at += NAMES_AT_ONCE) {
    const writes = names.slice(at, at + NAMES_AT_ONCE).map((name, i) => {
      const id = parseVmId(`vm-${(FIRST_ID + at + i).toString(16)}`);
      const value = { ...record, id, name, spec: { ...record.spec, disks: [] } };
      return [
        { key: keyOf.vm(id), value, expect: 0 },
        { key: keyOf.vmName(name), value: id, expect: 0 },
      ];
    });
    await store.transact(writes.flat(), null);
  }
}
