/**
 * The leader's hand on the store (core/ports/store.ts).
 *
 * Guarantees: every commit compares the election key; after one of which it is not known whether it was applied, nothing more is
 * committed in this term. The next term begins when the key of this one is gone, and so is every transaction that compares it.
 */
import { unreachable } from '../../base/assert.ts';
import type { Term } from '../../base/ids.ts';
import { keyOf, objectOf } from '../../core/model/keys.ts';
import type { Change, Commit, LeaderStore, Snapshot } from '../../core/ports/store.ts';
import type { Leadership } from '../../etcd/election.ts';
import { EtcdDeadlineUnknown } from '../../etcd/errors.ts';
import type { ClusterStore, Write } from './cluster-store.ts';

/** The store's tables as loops and decisions see them: always the newest state. */
export function snapshotOf(store: ClusterStore): Snapshot {
  return {
    get revision() {
      return store.revision;
    },
    get completeRevision() {
      return store.completeRevision;
    },
    vms: store.vms.entries,
    disks: store.disks.entries,
    hosts: store.hosts.entries,
    storage: store.storage.entries,
    controls: store.controls.entries,
    networks: store.networks.entries,
    tasks: store.tasks.entries,
    sharedDisks: store.sharedDisks.entries,
    guestClusters: store.guestClusters.entries,
    reservations: store.reservations.entries,
    unreadable: store.unreadable,
    lastReadable: store.lastReadable,
    disksOf: (vm) => store.disksOf(vm),
  };
}

/** The writes that one change of an object means, index keys included. */
export function writesOf(change: Change, snapshot: Snapshot): readonly Write[] {
  switch (change.kind) {
    case 'vm': {
      const before = snapshot.vms.get(change.id);
      const write: Write = { key: keyOf.vm(change.id), value: change.value, expect: before?.revision ?? 0 };
      if (change.value !== null || before === undefined) return [write];
      return [write, { key: keyOf.vmName(before.value.name), value: null, expect: null }];
    }
    case 'disk': {
      const before = snapshot.disks.get(change.id);
      const write: Write = { key: keyOf.disk(change.id), value: change.value, expect: before?.revision ?? 0 };
      if (change.value !== null || before === undefined) return [write];
      return [write, { key: keyOf.diskPort(before.value.node, before.value.port), value: null, expect: null }];
    }
    case 'host':
      return [
        { key: keyOf.host(change.id), value: change.value, expect: snapshot.hosts.get(change.id)?.revision ?? 0 },
      ];
    case 'network':
      return [
        { key: keyOf.network(change.id), value: change.value, expect: snapshot.networks.get(change.id)?.revision ?? 0 },
      ];
    case 'task':
      return [
        { key: keyOf.task(change.id), value: change.value, expect: snapshot.tasks.get(change.id)?.revision ?? 0 },
      ];
    case 'shared-disk':
      return writesOfSharedDisk(change, snapshot);
    case 'guest-cluster': {
      const expect = snapshot.guestClusters.get(change.id)?.revision ?? 0;
      return [{ key: keyOf.guestCluster(change.id), value: change.value, expect }];
    }
    default:
      return unreachable(change);
  }
}

/** The name follows the record: it is taken, moved to another scope, or given back, in the same transaction. */
function writesOfSharedDisk(
  { id, value }: Extract<Change, { kind: 'shared-disk' }>,
  { sharedDisks }: Snapshot,
): readonly Write[] {
  const before = sharedDisks.get(id);
  const write: Write = { key: keyOf.sharedDisk(id), value, expect: before?.revision ?? 0 };
  const old = before === undefined ? null : keyOf.sharedDiskName(before.value.guestCluster, before.value.name);
  const now = value === null ? null : keyOf.sharedDiskName(value.guestCluster, value.name);
  if (old === now) return [write];
  return [
    write,
    ...(old === null ? [] : [{ key: old, value: null, expect: null }]),
    // Storage nodes only write there; what is left of a disk that is gone would be nobody's.
    ...(value === null ? [{ key: keyOf.reservation(id), value: null, expect: null }] : []),
    ...(now === null ? [] : [{ key: now, value: id, expect: 0 }]),
  ];
}

/** Why a term is over before its lease is: a commit found the election key gone, or nobody knows what became of one. */
export type TermEnd = 'deposed' | 'unknown-outcome';

/** The store as one leadership sees it. `onOver` is called when a commit ends the term. */
export function leaderStore(
  store: ClusterStore,
  leadership: Leadership,
  onOver: (why: TermEnd) => void,
): LeaderStore & { readonly close: () => void } {
  const snapshot = snapshotOf(store);
  const unsubscribes: (() => void)[] = [];
  let isOver = false;
  const end = (why: TermEnd): 'deposed' => {
    isOver = true;
    onOver(why);
    return 'deposed';
  };
  return {
    term: leadership.createRevision as Term,
    snapshot,
    leads: () => !isOver && leadership.isValid(),
    commit: async ({ changes, events }: Commit) => {
      if (isOver) return 'deposed';
      const writes = changes.flatMap((change) => writesOf(change, snapshot));
      for (const event of events) writes.push(store.eventWrite(event));
      try {
        const outcome = await store.transact(writes, leadership.compare);
        return outcome.kind === 'guard-failed' ? end('deposed') : outcome.kind;
      } catch (error) {
        // It may still be applied, after what is decided from now on in the belief that it was not: room given out twice.
        if (error instanceof EtcdDeadlineUnknown) return end('unknown-outcome');
        throw error;
      }
    },
    onChange: (listener) => {
      unsubscribes.push(
        store.onChange((changes) => {
          for (const { key } of changes) {
            const changed = objectOf(key);
            if (changed !== null) listener(changed);
          }
        }),
      );
    },
    close: () => {
      isOver = true;
      for (const unsubscribe of unsubscribes) unsubscribe();
    },
  };
}
