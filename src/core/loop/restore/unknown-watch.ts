/**
 * Looks for VMs that no record knows (plan/restore/unknown.ts), in a cluster that was restored. Changes nothing: people
 * decide what becomes of them.
 *
 * Guarantees: one look at a time; no turn of the event loop looks at more than PER_TURN entries; storage nodes are asked
 * about ASKED_MAX disks in a look, each with a deadline; in a cluster that was never restored it does nothing.
 */
import { epochOf } from '../../../base/epoch.ts';
import { messageOf } from '../../../base/errors.ts';
import type { DiskId, StorageName, VmId } from '../../../base/ids.ts';
import { sleep } from '../../../base/sleep.ts';
import { inTurns } from '../../maintenance/in-turns.ts';
import {
  type UnknownProcess,
  type UnknownVm,
  unknownDisks,
  unknownProcesses,
  unknownVms,
} from '../../plan/restore/unknown.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { DiskFacts, DiskReport, StorageLink, StorageReport } from '../../ports/storage-link.ts';
import type { LeaderStore } from '../../ports/store.ts';
import type { HostObserver } from '../observe/host-observer.ts';
import type { StorageObserver } from '../observe/storage-observer.ts';

export interface UnknownWatchPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: LeaderStore;
  readonly storage: Pick<StorageLink, 'diskFacts'>;
  readonly observer: Pick<HostObserver, 'report'>;
  readonly storageObserver: Pick<StorageObserver, 'report' | 'answers'>;
}

const LOOK_MS = 3_000;
const ASK_MS = 2_000;
const ASKED_MAX = 64;
const ASKED_AT_ONCE = 8;
/** Processes and disks that are looked at in one turn of the event loop. */
const PER_TURN = 2_000;

interface SeenDisk {
  readonly node: StorageName;
  readonly report: DiskReport;
  /** The report of the node that it is from. */
  readonly of: StorageReport;
}

/** Its place, itself, and whether it was seen in two reports. */
type UnaskedDisk = readonly [string, SeenDisk, boolean];

/** One per leader; `stop` is final. */
export class UnknownWatch {
  readonly #ports: UnknownWatchPorts;
  #vms: readonly UnknownVm[] = [];
  /** Disks without a record at the last look, by node and id. */
  #seen = new Map<string, SeenDisk>();
  /** What nodes said of disks without a record. */
  readonly #facts = new Map<string, DiskFacts>();
  #isStopped = false;

  constructor(ports: UnknownWatchPorts) {
    this.#ports = ports;
  }

  start(): void {
    if (this.#ports.store.snapshot.epoch.number > 0) void this.#run();
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** The VMs that no record knew at the last look; of those that have a record since, none. */
  list(): readonly UnknownVm[] {
    const { vms } = this.#ports.store.snapshot;
    return this.#vms.filter(({ vm }) => !vms.has(vm));
  }

  /** One of them. */
  find(vm: VmId): UnknownVm | undefined {
    return this.list().find((one) => one.vm === vm);
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#ports;
    while (!this.#isStopped) {
      try {
        await this.#look();
      } catch (error) {
        log.warn('what no record knows could not be looked for', { error: messageOf(error) });
      }
      await sleep(clock, LOOK_MS);
    }
  }

  async #look(): Promise<void> {
    const { clock, store } = this.#ports;
    const isOver = (): boolean => this.#isStopped;
    const { snapshot } = store;
    const processes = await this.#processes();
    const { seen, unheard } = await this.#disks();
    const before = this.#seen;
    this.#seen = seen;
    const unasked = await inTurns(this.#sort(before), clock, isOver);
    if (unasked === null) return;
    await this.#ask(unasked);
    const nodes = new Set(unheard);
    for (const [key, { node }] of unasked) if (!this.#facts.has(key)) nodes.add(node);
    const vms = await inTurns(unknownVms(snapshot, processes, this.#owned(), [...nodes]), clock, isOver);
    if (vms !== null) this.#vms = vms;
  }

  /** Forgets what is no longer seen. Returns the disks of which it is not known whose they are. */
  *#sort(before: ReadonlyMap<string, SeenDisk>): Generator<void, readonly UnaskedDisk[]> {
    for (const key of this.#facts.keys()) {
      if (!this.#seen.has(key)) this.#facts.delete(key);
      yield;
    }
    const unasked: UnaskedDisk[] = [];
    for (const [key, disk] of this.#seen) {
      yield;
      if (this.#facts.has(key)) continue;
      const last = before.get(key);
      // A report that was made before a record went may still show its disk.
      unasked.push([key, disk, last !== undefined && last.of !== disk.of]);
    }
    return unasked;
  }

  *#owned(): Generator<Pick<SeenDisk, 'node' | 'report'> & { readonly facts: DiskFacts }, void> {
    for (const [key, { node, report }] of this.#seen) {
      const facts = this.#facts.get(key);
      if (facts !== undefined) yield { node, report, facts };
    }
  }

  async #processes(): Promise<readonly (UnknownProcess & { readonly vm: VmId })[]> {
    const { store, observer, clock } = this.#ports;
    const found: (UnknownProcess & { readonly vm: VmId })[] = [];
    let looked = 0;
    for (const host of [...store.snapshot.hosts.keys()]) {
      const report = observer.report(host)?.report;
      if (report === undefined) continue;
      found.push(...unknownProcesses(store.snapshot, host, report));
      looked += report.incarnations.length;
      if (looked < PER_TURN) continue;
      looked = 0;
      await sleep(clock, 0);
    }
    return found;
  }

  async #disks(): Promise<{ readonly seen: Map<string, SeenDisk>; readonly unheard: readonly StorageName[] }> {
    const { store, storageObserver, clock } = this.#ports;
    const found = new Map<string, SeenDisk>();
    const unheard: StorageName[] = [];
    for (const { value } of [...store.snapshot.storage.values()]) {
      const { name: node, lost } = value;
      if (lost !== undefined) continue;
      const of = storageObserver.report(node);
      if (of === null || !storageObserver.answers(node) || of.epoch !== epochOf(store.term)) {
        unheard.push(node);
        continue;
      }
      for (let from = 0; from < of.disks.length; from += PER_TURN) {
        for (const report of unknownDisks(store.snapshot, of.disks.slice(from, from + PER_TURN)))
          found.set(placeOf(node, report.disk), { node, report, of });
        await sleep(clock, 0);
      }
    }
    return { seen: found, unheard };
  }

  async #ask(unasked: readonly UnaskedDisk[]): Promise<void> {
    const { storage } = this.#ports;
    const facts = this.#facts;
    const queue = unasked
      .filter(([, , isCertain]) => isCertain)
      .slice(0, ASKED_MAX)
      .values();
    const worker = async (): Promise<void> => {
      for (const [key, { node, report }] of queue) {
        if (this.#isStopped) return;
        const said = await storage.diskFacts(node, report.disk, { deadlineMs: ASK_MS }).catch(() => null);
        if (said !== null) facts.set(key, said);
      }
    };
    await Promise.all(Array.from({ length: ASKED_AT_ONCE }, worker));
  }
}

const placeOf = (node: StorageName, disk: DiskId): string => `${node}/${disk}`;
