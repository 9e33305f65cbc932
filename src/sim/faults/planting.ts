/** How mistakes are planted: other writes to etcd, other answers of a link. */
import type { ClusterStore, Write } from '../../control/store/cluster-store.ts';
import type { Table } from '../../control/store/table.ts';
import type { QmpLink } from '../../core/ports/qmp-link.ts';

/** Changes or drops (null) what is written. */
export function rewriting(store: ClusterStore, change: (write: Write, isLeaders: boolean) => Write | null): void {
  const transact = store.transact.bind(store);
  store.transact = (writes, guard, unchanged) =>
    transact(
      writes.flatMap((write) => change(write, guard !== null) ?? []),
      guard,
      unchanged,
    );
}

/** A control node takes in other values than etcd holds. */
export function misreading<T>(table: Table<T>, change: (value: T) => T): void {
  const note = table.note.bind(table);
  table.note = (key, value, revision) => note(key, value === null ? null : change(value as T), revision);
}

/** The methods of a QMP link, still on the link they belong to. */
export function boundQmp(qmp: QmpLink): QmpLink {
  return {
    observe: (target) => qmp.observe(target),
    cont: (target) => qmp.cont(target),
    halt: (target) => qmp.halt(target),
    reset: (target) => qmp.reset(target),
    powerDown: (target) => qmp.powerDown(target),
    quit: (target) => qmp.quit(target),
    listen: (destination, source) => qmp.listen(destination, source),
    send: (source, destination, options) => qmp.send(source, destination, options),
    dirtyRate: (target) => qmp.dirtyRate(target),
    machineFacts: (target) => qmp.machineFacts(target),
    blockFigures: (target) => qmp.blockFigures(target),
    allowPause: (source, ms) => qmp.allowPause(source, ms),
    activate: (source) => qmp.activate(source),
    cancelSend: (source) => qmp.cancelSend(source),
    plug: (target, disk) => qmp.plug(target, disk),
    unplug: (target, disk) => qmp.unplug(target, disk),
    sharedDisks: (target) => qmp.sharedDisks(target),
    certificateEndsAt: (vm, generation) => qmp.certificateEndsAt(vm, generation),
    onEvent: (listener) => qmp.onEvent(listener),
    forget: (vm, generation) => qmp.forget(vm, generation),
  };
}
