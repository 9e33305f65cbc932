/** Connects consoles to the store and the QEMUs of a control node. */
import { CodedError } from '../../base/errors.ts';
import { keyOf } from '../../core/model/keys.ts';
import type { Incarnation, VmRecord } from '../../core/model/vm.ts';
import type { QmpTarget } from '../../core/ports/qmp-link.ts';
import type { BackendContext } from './context.ts';
import type { ConsolePorts } from './following-console.ts';

/** Returns the console ports over a store and its QEMUs. */
export function consolePorts({ store, serial, displays, clock }: BackendContext): ConsolePorts {
  return {
    clock,
    vm: (id) => store.vms.get(id)?.value,
    onChange: (id, listener) => {
      const key = keyOf.vm(id);
      return store.onChange((changes) => {
        if (changes.some((change) => change.key === key)) listener();
      });
    },
    open: async (vm, incarnation) => serial.openSerial(targetOf(store, vm, incarnation)),
    openDisplay: async (vm, incarnation) => displays.openDisplay(targetOf(store, vm, incarnation)),
  };
}

/** How an incarnation's QEMU is reached. CodedError 'unavailable' if its host is no longer in the cluster. */
export function targetOf(
  store: BackendContext['store'],
  { id, name }: VmRecord,
  { generation, host, slot }: Incarnation,
): QmpTarget {
  const record = store.hosts.get(host)?.value;
  if (record === undefined)
    throw new CodedError('unavailable', `${name} runs on ${host}, which is no host of the cluster any more.`);
  return { vm: id, generation, slot, host, addresses: record.addresses };
}
