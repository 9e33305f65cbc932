/**
 * Checkers of what no record shows: who wrote to a disk, and whether a host that was given up could have been reached.
 */
import type { DiskId, HostName, StorageName, VmId } from '../../base/ids.ts';
import type { HostRecord } from '../model/cluster.ts';
import { namedIncarnations } from './records.ts';
import type { Checker } from './trace.ts';

/**
 * W1: no write of an older generation of a VM reaches a disk, its own or a shared one, after one of a newer generation
 * did.
 */
export function writesFollowGenerations(): Checker {
  const newest = new Map<string, number>();
  const lost = new LostDisks();
  return (entry) => {
    lost.note(entry);
    if (entry.kind !== 'write' || lost.has(entry.disk)) return null;
    const key = `${entry.vm} ${entry.disk}`;
    const before = newest.get(key) ?? 0;
    if (entry.generation < before)
      return `${entry.vm}: generation ${entry.generation} wrote to ${entry.disk} after generation ${before}`;
    newest.set(key, entry.generation);
    return null;
  };
}

/**
 * W2: only the generation that a leader continued last writes: once it was ordered to run, no write of any other
 * generation reaches a disk, not even one that was under way. A deposed leader that does not know it yet may continue
 * the current generation, and no older one.
 */
export function oneWriter(): Checker {
  const continued = new Map<VmId, number>();
  const lost = new LostDisks();
  return (entry) => {
    lost.note(entry);
    if (entry.kind === 'cont' && (!entry.stale || entry.generation >= (continued.get(entry.vm) ?? 0)))
      continued.set(entry.vm, entry.generation);
    if (entry.kind !== 'write' || lost.has(entry.disk)) return null;
    const writer = continued.get(entry.vm);
    if (writer === undefined) return `${entry.vm}: generation ${entry.generation} wrote and nobody ordered it to run`;
    if (writer === entry.generation) return null;
    return `${entry.vm}: generation ${entry.generation} wrote to ${entry.disk} after generation ${writer} was ordered to run`;
  };
}

/** Disks on storage nodes that were declared lost: what is written there is nothing to anybody. */
class LostDisks {
  readonly #nodes = new Map<DiskId, StorageName>();
  readonly #lost = new Set<StorageName>();

  note(entry: Parameters<Checker>[0]): void {
    if (entry.kind !== 'commit' && entry.kind !== 'restored') return;
    for (const { kind, id, value } of entry.changes) {
      if ((kind === 'disk' || kind === 'shared-disk') && value !== null) this.#nodes.set(id, value.node);
      if (kind === 'storage' && value?.lost !== undefined) this.#lost.add(id);
    }
  }

  has(disk: DiskId): boolean {
    const node = this.#nodes.get(disk);
    return node !== undefined && this.#lost.has(node);
  }
}

/**
 * D1: a write that a guest was told to be on its disk is there when the guest boots, and is never overwritten by
 * another incarnation, whose memory would be older than the disk.
 */
export function acknowledgedWritesSurvive(): Checker {
  const acknowledged = new Map<string, { sequence: number; generation: number }>();
  const keyOf = ({ vm, disk }: { readonly vm: VmId; readonly disk: DiskId }): string => `${disk} ${vm}`;
  const forget = (disk: DiskId): void => {
    for (const key of acknowledged.keys()) if (key.startsWith(`${disk} `)) acknowledged.delete(key);
  };
  return (entry) => {
    if (entry.kind === 'commit') {
      for (const { kind, id, value } of entry.changes) if (kind === 'disk' && value === null) forget(id);
      return null;
    }
    if (entry.kind === 'acknowledged') {
      const known = acknowledged.get(keyOf(entry));
      if (known === undefined || entry.sequence > known.sequence) acknowledged.set(keyOf(entry), entry);
      return null;
    }
    if (entry.kind !== 'booted' && entry.kind !== 'write') return null;
    const known = acknowledged.get(keyOf(entry));
    if (known === undefined) return null;
    const who = `${entry.vm}, generation ${entry.generation}`;
    if (entry.kind === 'booted') {
      if (entry.found >= known.sequence) return null;
      return `${who} found block ${entry.found} on ${entry.disk}; ${known.sequence} was acknowledged to generation ${known.generation}`;
    }
    if (entry.sequence > known.sequence || entry.generation === known.generation) return null;
    return `${who} wrote block ${entry.sequence} of ${entry.disk} again; ${known.sequence} was acknowledged to generation ${known.generation}`;
  };
}

/** M3: no order makes a QEMU abort: the guest's memory would be lost. */
export function noOrderAbortsAQemu(): Checker {
  return (entry) =>
    entry.kind === 'status' && entry.status === 'aborted'
      ? `QEMU of ${entry.vm}, generation ${entry.generation}, aborted upon what it was ordered`
      : null;
}

/** The paths on which a leader would have to meet silence, each with how it is at the end of what was seen. */
interface PathsOfHost {
  readonly tried: Map<string, boolean | null>;
  readonly worksSince: Map<string, number>;
}

/** V1: a host is only given up (quarantined) when the leader's last attempts on every path that works met silence. */
export function lostOnlyWhenUnreached(): Checker {
  const seen = new PathsSeen();
  return (entry) => {
    seen.note(entry);
    if (entry.kind !== 'gives-up') return null;
    const { tried } = seen.of(entry.by, entry.host);
    const reached = [...tried].find(([, met]) => met === true);
    if (reached !== undefined) return `${entry.host} was given up although ${reached[0]} reaches it`;
    if ([...tried.values()].every((met) => met === null))
      return `${entry.host} was given up and nobody tried to reach it`;
    return null;
  };
}

/** A path that has worked for as long as this must have been tried with success before its host may be given up. */
const REACHED_FOR_MS = 4_000;

/** V2: no host is given up that some path to it has in truth been reaching all the time. */
export function lostOnlyWhenOutOfReach(): Checker {
  const seen = new PathsSeen();
  return (entry) => {
    seen.note(entry);
    if (entry.kind !== 'gives-up') return null;
    const { worksSince } = seen.of(entry.by, entry.host);
    const open = [...worksSince].find(([, since]) => entry.at - since >= REACHED_FOR_MS);
    if (open === undefined) return null;
    return `${entry.host} was given up although ${open[0]} has worked since ${open[1]}`;
  };
}

/** The paths that each control node tried, and those that would have worked. */
class PathsSeen {
  readonly #paths = new Map<string, PathsOfHost>();

  note(entry: Parameters<Checker>[0]): void {
    if (entry.kind === 'probe') this.of(entry.by, entry.host).tried.set(entry.path, entry.met);
    if (entry.kind !== 'path') return;
    const { worksSince } = this.of(entry.from, entry.host);
    if (entry.since === null) worksSince.delete(entry.path);
    else worksSince.set(entry.path, entry.since);
  }

  of(control: string, host: HostName): PathsOfHost {
    const key = `${control}:${host}`;
    const known = this.#paths.get(key) ?? { tried: new Map(), worksSince: new Map() };
    this.#paths.set(key, known);
    return known;
  }
}

/**
 * P1: an incarnation with a network card begins only on a host that drops the tunnels of every host that was
 * quarantined when, or before, it was decided upon, and has been since: processes that still send there do not reach
 * it.
 */
export function lostTunnelsAreDropped(): Checker {
  const hosts = new Map<HostName, HostRecord>();
  const quarantinedAt = new Map<HostName, number>();
  const decidedAt = new Map<string, number>();
  return (entry) => {
    if (entry.kind === 'commit') {
      for (const change of entry.changes) {
        if (change.kind === 'host' && change.value !== null) {
          hosts.set(change.id, change.value);
          if (change.value.quarantine === null) quarantinedAt.delete(change.id);
          else if (!quarantinedAt.has(change.id)) quarantinedAt.set(change.id, entry.at);
        }
        for (const { generation } of change.kind === 'vm' && change.value !== null
          ? namedIncarnations(change.value)
          : []) {
          const key = `${change.id}:${generation}`;
          if (!decidedAt.has(key)) decidedAt.set(key, entry.at);
        }
      }
    }
    if (entry.kind !== 'launched') return null;
    const decided = decidedAt.get(`${entry.vm}:${entry.generation}`) ?? Number.NEGATIVE_INFINITY;
    for (const [name, at] of quarantinedAt) {
      const tunnel = hosts.get(name)?.addresses.overlay;
      if (name === entry.host || at > decided || tunnel === undefined || entry.drops.includes(tunnel)) continue;
      return `${entry.vm} generation ${entry.generation} begins on ${entry.host}, which hears ${name}, given up at ${at}`;
    }
    return null;
  };
}
