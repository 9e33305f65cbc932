/**
 * The leader's access to the store (core/ports/store.ts).
 * Guarantees: every commit compares the election key; after a commit whose outcome is unknown, nothing more is
 * committed in this term. The next term begins when the election key of this term is gone, so that no transaction which
 * compares it can still be applied.
 */
import { unreachable } from '../../base/assert.ts';
import { termOf } from '../../base/epoch.ts';
import type { DiskRecord, NetworkRecord } from '../../core/model/cluster.ts';
import type { SharedDiskRecord } from '../../core/model/guest-cluster.ts';
import { keyOf, objectOf, PREFIX } from '../../core/model/keys.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Change, Commit, Entry, LeaderStore, ObjectRef, RequestSnapshot } from '../../core/ports/store.ts';
import type { Leadership } from '../../etcd/election.ts';
import { EtcdDeadlineUnknown } from '../../etcd/errors.ts';
import type { ClusterStore, Unchanged, Write } from './cluster-store.ts';
import { SeenCommits } from './seen-commits.ts';

/** The store's tables as loops and decisions see them: always the newest state. */
export function snapshotOf(store: ClusterStore): RequestSnapshot {
  return {
    get epoch() {
      return store.epoch;
    },
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
    drains: store.drains.entries,
    rolls: store.rolls.entries,
    rollPlans: store.rollPlans.entries,
    authorities: store.authorities.entries,
    certificates: store.certificates.entries,
    reservations: store.reservations.entries,
    images: store.images.entries,
    events: store.events.entries,
    tokens: store.tokens.entries,
    vmNames: store.vmNames.entries,
    diskPorts: store.diskPorts.entries,
    sharedDiskNames: store.sharedDiskNames.entries,
    networkVnis: store.networkVnis.entries,
    unreadable: store.unreadable,
    lastReadable: store.lastReadable,
    disksOf: (vm) => store.disksOf(vm),
  };
}

/** Returns the key of an object, and the revision at which a transaction that depends on it expects it; 0: absent. */
export function unchangedOf(ref: ObjectRef, snapshot: RequestSnapshot): Unchanged {
  const { key, before } = placeOf(ref, snapshot);
  return { key, expect: before?.revision ?? 0 };
}

/** The writes that one change of an object means, index keys included. */
export function writesOf(change: Change, snapshot: RequestSnapshot): readonly Write[] {
  const write: Write = { ...unchangedOf(change, snapshot), value: change.value };
  const before = namesOf(change.kind, placeOf(change, snapshot).before?.value ?? null);
  const after = namesOf(change.kind, change.value);
  // Only storage nodes write there; after a disk is deleted, nobody would delete what is left of it.
  const left = change.kind === 'shared-disk' && change.value === null ? [keyOf.reservation(change.id)] : [];
  return [
    write,
    ...before.flatMap((key) => (after.includes(key) ? [] : [{ key, value: null, expect: null }])),
    ...left.map((key) => ({ key, value: null, expect: null })),
    ...after.flatMap((key) => (before.includes(key) ? [] : [{ key, value: change.id, expect: 0 }])),
  ];
}

function placeOf(
  ref: ObjectRef,
  snapshot: RequestSnapshot,
): { readonly key: string; readonly before: Entry<Change['value']> | undefined } {
  switch (ref.kind) {
    case 'vm':
      return { key: keyOf.vm(ref.id), before: snapshot.vms.get(ref.id) };
    case 'disk':
      return { key: keyOf.disk(ref.id), before: snapshot.disks.get(ref.id) };
    case 'host':
      return { key: keyOf.host(ref.id), before: snapshot.hosts.get(ref.id) };
    case 'control':
      return { key: PREFIX.control + ref.id, before: snapshot.controls.get(ref.id) };
    case 'storage':
      return { key: keyOf.storage(ref.id), before: snapshot.storage.get(ref.id) };
    case 'network':
      return { key: keyOf.network(ref.id), before: snapshot.networks.get(ref.id) };
    case 'task':
      return { key: keyOf.task(ref.id), before: snapshot.tasks.get(ref.id) };
    case 'shared-disk':
      return { key: keyOf.sharedDisk(ref.id), before: snapshot.sharedDisks.get(ref.id) };
    case 'guest-cluster':
      return { key: keyOf.guestCluster(ref.id), before: snapshot.guestClusters.get(ref.id) };
    case 'drain':
      return { key: keyOf.drain(ref.id), before: snapshot.drains.get(ref.id) };
    case 'roll':
      return { key: keyOf.roll(ref.id), before: snapshot.rolls.get(ref.id) };
    case 'roll-plan':
      return { key: keyOf.rollPlan(ref.id), before: snapshot.rollPlans.get(ref.id) };
    case 'authority':
      return { key: keyOf.authority(ref.id), before: snapshot.authorities.get(ref.id) };
    case 'certificate':
      return { key: keyOf.certificate(ref.id), before: snapshot.certificates.get(ref.id) };
    case 'image':
      return { key: keyOf.image(ref.id), before: snapshot.images.get(ref.id) };
    case 'event':
      return { key: PREFIX.event + ref.id, before: snapshot.events.get(ref.id) as Entry<null> | undefined };
    case 'token':
      return { key: keyOf.token(ref.id), before: snapshot.tokens.get(ref.id) };
    default:
      return unreachable(ref);
  }
}

/** The keys that keep the name or number of a record unique: taken, moved to another scope and given back with it. */
function namesOf(kind: Change['kind'], value: Change['value']): readonly string[] {
  if (value === null) return [];
  switch (kind) {
    case 'vm':
      return [keyOf.vmName((value as VmRecord).name)];
    case 'disk': {
      const { node, port } = value as DiskRecord;
      return [keyOf.diskPort(node, port)];
    }
    case 'network':
      return [keyOf.networkVni((value as NetworkRecord).vni)];
    case 'shared-disk': {
      const { guestCluster, name } = value as SharedDiskRecord;
      return [keyOf.sharedDiskName(guestCluster, name)];
    }
    default:
      return [];
  }
}

/**
 * The reason why a term ends before its lease: a commit found the election key gone, or the outcome of a commit is
 * unknown.
 */
export type TermEnd = 'deposed' | 'unknown-outcome';

/** The store as one leadership sees it. `onOver` is called when a commit ends the term. */
export function leaderStore(
  store: ClusterStore,
  leadership: Leadership & { readonly epoch: number },
  onOver: (why: TermEnd) => void,
): LeaderStore & { readonly close: () => void } {
  const snapshot = snapshotOf(store);
  const unsubscribes: (() => void)[] = [];
  const term = termOf(leadership.epoch, leadership.createRevision);
  const seen = new SeenCommits(term);
  let isOver = false;
  const end = (why: TermEnd): 'deposed' => {
    isOver = true;
    onOver(why);
    return 'deposed';
  };
  return {
    term,
    snapshot,
    leads: () => !isOver && leadership.isValid(),
    commit: async ({ changes, events }: Commit) => {
      if (isOver) return 'deposed';
      const writes = changes.flatMap((change) => writesOf(change, snapshot));
      for (const event of events) writes.push(store.eventWrite(event));
      try {
        const outcome = await seen.sending(changes, writes, () => store.transact(writes, leadership.compare));
        return outcome.kind === 'guard-failed' ? end('deposed') : outcome.kind;
      } catch (error) {
        // The commit may still be applied after decisions that assume it was not: the same room would be given out
        // twice.
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
    onCommit: (listener) => {
      seen.onCommit(listener);
      unsubscribes.push(store.onChange((changes) => seen.noted(changes)));
    },
    close: () => {
      isOver = true;
      for (const unsubscribe of unsubscribes) unsubscribe();
    },
  };
}
