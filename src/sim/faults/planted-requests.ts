/**
 * Known mistakes about what people ask for: creation, change and deletion, and disks that come, go or cannot be
 * reached.
 */
import type { DiskRecord } from '../../core/model/cluster.ts';
import { PREFIX } from '../../core/model/keys.ts';
import { DISK_PORT_BASE } from '../../core/model/ports.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { QmpLink } from '../../core/ports/qmp-link.ts';
import type { PlantedBug } from './planted-bug.ts';
import { boundQmp, rewriting } from './planting.ts';

/** The rule that a cluster breaks that does not converge. */
const STUCK = 'L1-converges';

/** See the module's comment. */
export const REQUEST_BUGS: readonly PlantedBug[] = [
  {
    name: 'requests-compare-nothing',
    says: 'what people ask for is written without comparing the VM that it was decided from',
    rules: ['E1-only-leaders-decide', 'G1-generations-grow', 'G3-one-current', 'T3-wishes-kept', 'T1-tasks-end-once'],
    plantStore: (store) =>
      rewriting(store, (write, isLeaders) =>
        !isLeaders && write.key.startsWith(PREFIX.vm) ? { ...write, expect: null } : write,
      ),
  },
  {
    name: 'first-address',
    says: 'a card is given the first address of its network, whoever has that',
    rules: ['R3-addresses-once'],
    plantStore: (store) =>
      rewriting(store, (write, isLeaders) => {
        if (isLeaders || !write.key.startsWith(PREFIX.vm) || write.value === null) return write;
        const vm = write.value as VmRecord;
        const nics = vm.spec.nics.map((nic) => ({ ...nic, address: nic.address?.replace(/[0-9]+$/, '2') ?? null }));
        return { ...write, value: { ...vm, spec: { ...vm.spec, nics } } };
      }),
  },
  {
    name: 'first-port',
    says: 'a disk is given the first port of its storage node, and nobody claims it',
    rules: ['R2-ports-once'],
    plantStore: (store) =>
      rewriting(store, (write, isLeaders) => {
        if (isLeaders || write.value === null) return write;
        if (write.key.startsWith(PREFIX.diskPort)) return null;
        if (!write.key.startsWith(PREFIX.disk)) return write;
        return { ...write, value: { ...(write.value as DiskRecord), port: DISK_PORT_BASE } };
      }),
  },
  {
    name: 'disk-records-stay',
    says: 'a VM is removed and the records of its disks are not',
    rules: [STUCK],
    plantStore: (store) =>
      rewriting(store, (write, isLeaders) =>
        isLeaders && write.key.startsWith(PREFIX.disk) && write.value === null ? null : write,
      ),
  },
  {
    name: 'disks-stay',
    says: 'a disk of a VM that is deleted is left in its pool',
    rules: [STUCK],
    plant: (ports) => ({ ...ports, storage: { ...ports.storage, deleteDisk: async () => undefined } }),
  },
  {
    name: 'disk-errors-are-overlooked',
    says: 'a guest that a disk error has paused is taken to run',
    rules: [STUCK],
    plant: (ports) => {
      const { qmp } = ports;
      const observe: QmpLink['observe'] = async (target) => {
        const seen = await qmp.observe(target);
        return seen.kind === 'answers' && seen.status === 'io-error' ? { ...seen, status: 'running' } : seen;
      };
      return { ...ports, qmp: { ...boundQmp(qmp), observe } };
    },
  },
  {
    name: 'refused-shared-disks-count',
    says: 'a shared disk that no QEMU has opened is taken to be plugged',
    rules: [STUCK],
    plant: (ports) => ({ ...ports, qmp: { ...boundQmp(ports.qmp), plug: async () => undefined } }),
  },
];
