/**
 * For tests: one simulated storage node, a leader that moves VMs from generation to generation by the protocol, QEMUs
 * that write whatever happens and never give up, and misfortune. Judged by what reaches the disks and by what was
 * acknowledged.
 */

import { CodedError } from '../../../base/errors.ts';
import {
  type DiskId,
  type Generation,
  parseDiskId,
  parseGeneration,
  parseStorageName,
  parseVmId,
  type Term,
  type VmId,
} from '../../../base/ids.ts';
import { sleep } from '../../../base/sleep.ts';
import { FIRST_EPOCH } from '../../../core/model/record-shapes.ts';
import type { VmSharedDisk } from '../../../core/model/vm.ts';
import type { ClusterView } from '../../../core/storage/cluster-view.ts';
import type { StorageServiceOptions } from '../../../core/storage/storage-service.ts';
import { SimMachine } from '../../machines/sim-machine.ts';
import { SimClock } from '../../time/sim-clock.ts';
import { SimRandom } from '../../time/sim-random.ts';
import type { SimStorageMistakes } from '../sim-daemon.ts';
import { SimStorageNode, type SimStorageOrders } from '../sim-storage-node.ts';
import type { SimTargetMistakes } from '../sim-target.ts';

export interface StormOptions {
  readonly seed: number;
  readonly mistakes?: SimStorageMistakes;
  readonly targetMistakes?: SimTargetMistakes;
  readonly plant?: (parts: StorageServiceOptions) => StorageServiceOptions;
  readonly plantOrders?: (orders: SimStorageOrders) => SimStorageOrders;
}

/** A VM as etcd would have it, as far as storage is concerned. */
interface StormVm {
  readonly id: VmId;
  /** What it has of the disk that all of them share. */
  sharedDisks: readonly VmSharedDisk[];
  readonly disks: readonly { readonly disk: DiskId; readonly port: number; readonly readOnly: boolean }[];
  generation: number;
  admitted: readonly number[];
  isCreated: boolean;
}

const TERM = 7 as Term;
const SHARED = parseDiskId('disk-0000000000ff');
const VMS = 2;
const FAULTS_MS = 15_000;
/** From the end of all faults: the longest back-off of the service, a stuck write, and a few orders. */
const CALM_MS = 60_000;
const DEADLINE_MS = 5_000;

/** One run. `violations` is empty when all was well. */
export class StorageStorm {
  readonly clock = new SimClock();
  readonly log: string[] = [];
  readonly violations: string[] = [];
  readonly counts = { writes: 0, acks: 0, fences: 0, refused: 0, enospc: 0, broken: 0, faults: 0 };
  readonly node: SimStorageNode;
  readonly #random: SimRandom;
  readonly #machine: SimMachine;
  readonly #vms: readonly StormVm[];
  /** Acknowledged fences: nothing of the VM below it may be written any more. */
  readonly #fenced = new Map<VmId, number>();
  readonly #revoked = new Set<string>();
  readonly #acked = new Map<DiskId, Set<number>>();
  #sequence = 0;
  #isStormy = true;
  #isOver = false;

  constructor({ seed, ...rest }: StormOptions) {
    this.#random = new SimRandom(seed);
    this.#machine = new SimMachine('s1', this.clock);
    this.#machine.setDrift(this.#random.between(-0.005, 0.005));
    const say = (message: string, fields?: object): void => this.say(`${message} ${JSON.stringify(fields ?? {})}`);
    this.node = new SimStorageNode({
      probe: async () => ({ outcome: 'silent', lateMs: 0 }),
      name: parseStorageName('s1'),
      machine: this.#machine,
      clock: this.clock,
      random: this.#random.fork('storage'),
      readCluster: () => this.#readCluster(),
      onWrite: (write) => this.#onWrite(write),
      onAck: ({ disk, sequence }) => {
        this.counts.acks++;
        this.#acked.set(disk, (this.#acked.get(disk) ?? new Set()).add(sequence));
      },
      note: (entry) => {
        this.say(JSON.stringify(entry));
        if (entry.kind === 'granted' && entry.generation < (this.#fenced.get(entry.vm) ?? 0))
          this.#violated(`generation ${entry.generation} is granted below a fence`);
        if (entry.kind === 'fenced') this.#fenced.set(entry.vm, Math.max(entry.below, this.#fenced.get(entry.vm) ?? 0));
        if (entry.kind === 'revoked') this.#revoked.add(`${entry.vm}:${entry.generation}`);
      },
      log: { info: say, warn: say },
      ...rest,
    });
    this.#vms = Array.from({ length: VMS }, (_, n) => vmOf(n));
  }

  say(text: string): void {
    this.log.push(`${this.clock.monotonicMs().toFixed(3).padStart(10)} ${text}`);
  }

  /** Plays it to its end. */
  async play(): Promise<this> {
    this.node.startService();
    this.#keepRunning();
    const lives = this.#vms.map((vm) => this.#live(vm));
    this.#misfortune();
    await this.clock.run(FAULTS_MS);
    this.#isStormy = false;
    this.say('-- calm');
    this.#repair();
    let done = 0;
    for (const life of lives) void life.then(() => done++);
    await this.clock.run(FAULTS_MS + CALM_MS, () => done === lives.length);
    if (done < lives.length) this.#violated(`${lives.length - done} VMs did not come to rest`);
    this.#isOver = true;
    for (const [disk, sequences] of this.#acked) {
      const content = this.node.pool.contentOf(disk);
      const lost = [...sequences].filter((sequence) => !content.has(sequence));
      if (lost.length > 0) this.#violated(`${disk}: acknowledged and lost: ${lost.slice(0, 5).join(', ')}`);
    }
    return this;
  }

  #violated(what: string): void {
    this.violations.push(what);
    this.say(`VIOLATION ${what}`);
  }

  #onWrite({ vm, disk, generation }: { vm: VmId; disk: DiskId; generation: Generation }): void {
    this.counts.writes++;
    if (generation < (this.#fenced.get(vm) ?? 0)) this.#violated(`${disk}: fenced generation ${generation} wrote`);
    if (this.#revoked.has(`${vm}:${generation}`)) this.#violated(`${disk}: revoked generation ${generation} wrote`);
  }

  /** Read at one instant, told a little later; now and then not at all. */
  async #readCluster(): Promise<ClusterView> {
    await sleep(this.clock, this.#random.between(1, 30));
    if (this.#isStormy && this.#random.chance(25)) {
      await sleep(this.clock, 2_000);
      throw new CodedError('deadline', 'etcd did not answer.');
    }
    const created = this.#vms.filter(({ isCreated }) => isCreated);
    const view: ClusterView = {
      history: { epoch: 0, id: '', revision: 1 },
      epoch: FIRST_EPOCH,
      unreadableVms: new Set(),
      disks: new Map(created.flatMap(({ id, disks }) => disks.map(({ disk, port }) => [disk, { vm: id, port }]))),
      vms: new Map(
        created.map(({ id, admitted, generation, sharedDisks }) => [
          id,
          {
            floor: admitted.length === 0 ? generation + 1 : Math.min(...admitted),
            highest: generation,
            admitted: admitted.map(parseGeneration),
            readOnlyDisks: new Set<DiskId>(),
            sharedDisks,
          },
        ]),
      ),
    };
    await sleep(this.clock, this.#random.between(1, 30));
    return view;
  }

  /** What a supervisor does. */
  #keepRunning(): void {
    if (this.#isOver) return;
    this.node.startService();
    this.clock.after(this.#random.between(100, 800), () => this.#keepRunning());
  }

  /** An order to the service: carried out late, twice, or although its sender gave up. */
  #order<T>(send: (orders: SimStorageOrders) => Promise<T>): Promise<T> {
    const carryOut = async (): Promise<T> => {
      const { listener, orders } = this.node;
      if (listener === null || orders === null) throw new CodedError('unavailable', 'Nobody listens.');
      return new Promise<T>((resolve, reject) => listener.run(() => void send(orders).then(resolve, reject)));
    };
    // A connection that is tried again and again delivers it to whoever listens next, which may be a service that was
    // just started.
    const late = async (): Promise<void> => {
      await sleep(this.clock, this.#random.between(0, 4_000));
      while (this.node.listener === null && !this.#isOver) await sleep(this.clock, this.#random.between(1, 50));
      await carryOut();
    };
    if (this.#random.chance(15)) void late().catch(() => 0);
    return new Promise<T>((resolve, reject) => {
      this.clock.after(DEADLINE_MS, () => reject(new CodedError('deadline', 'The service did not answer.')));
      this.clock.after(this.#random.between(0.5, 5), () => void carryOut().then(resolve, reject));
    });
  }

  /** Until it is acknowledged, as a leader does. */
  async #insist(what: string, send: (orders: SimStorageOrders) => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        await this.#order(send);
        return;
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        this.say(`${what}: ${error.code}: ${error.message}`);
        if (error.code === 'stale-order') throw error;
      }
      await sleep(this.clock, this.#random.between(50, 500));
    }
  }

  #fence(vm: StormVm, below: number): Promise<void> {
    this.counts.fences++;
    const order = { term: TERM, vm: vm.id, below: parseGeneration(below), disks: vm.disks.map(({ disk }) => disk) };
    return this.#insist(`fence ${vm.id} below ${below}`, (orders) => orders.fence(order));
  }

  #grant(vm: StormVm, generation: number): Promise<void> {
    const { id, disks, sharedDisks } = vm;
    const order = { term: TERM, vm: id, generation: parseGeneration(generation), disks, sharedDisks };
    return this.#insist(`grant ${vm.id} ${generation}`, (orders) => orders.grant(order));
  }

  #revoke(vm: StormVm, generation: number): Promise<void> {
    const disks = vm.disks.map(({ disk }) => disk);
    const order = { term: TERM, vm: vm.id, generation: parseGeneration(generation), disks };
    return this.#insist(`revoke ${vm.id} ${generation}`, (orders) => orders.revoke(order));
  }

  /** Generation after generation while there are faults; then one more, which must be able to write. */
  async #live(vm: StormVm): Promise<void> {
    for (const { disk } of vm.disks) {
      const order = { term: TERM, vm: vm.id, sizeBytes: 2 ** 20, source: { kind: 'blank' } } as const;
      await this.#insist(`create ${disk}`, (orders) => orders.createDisk(disk, order));
    }
    const shared = { term: TERM, sizeBytes: 2 ** 20, blockBytes: 512 } as const;
    await this.#insist(`create ${SHARED}`, (orders) => orders.createSharedDisk(SHARED, shared));
    vm.sharedDisks = [{ disk: SHARED, lun: 0 }];
    vm.isCreated = true;
    await this.#start(vm);
    while (this.#isStormy) {
      await sleep(this.clock, this.#random.between(0, 1_500));
      const what = this.#random.below(10);
      if (what < 4) await this.#start(vm);
      else if (what < 9) await this.#migrate(vm);
      else {
        vm.admitted = [];
        await this.#fence(vm, vm.generation + 1);
      }
    }
    const { written } = await this.#start(vm);
    await written;
  }

  /** `written` resolves when each disk took a write of the new generation. */
  async #start(vm: StormVm): Promise<{ readonly written: Promise<unknown> }> {
    vm.generation++;
    vm.admitted = [vm.generation];
    await this.#fence(vm, vm.generation);
    await this.#grant(vm, vm.generation);
    return { written: this.#run(vm, vm.generation) };
  }

  async #migrate(vm: StormVm): Promise<void> {
    const source = vm.admitted[0];
    if (source === undefined) return;
    const destination = ++vm.generation;
    vm.admitted = [source, destination];
    await this.#grant(vm, destination);
    // Also one that uses its credential for what it should not: the other one's export.
    void this.#run(vm, destination, { exportOf: this.#random.chance(20) ? source : destination });
    if (this.#random.chance(20)) void this.#run(vm, source, { exportOf: destination });
    await sleep(this.clock, this.#random.between(0, 300));
    if (this.#random.chance(60)) {
      vm.admitted = [destination];
      await this.#fence(vm, destination);
    } else {
      vm.admitted = [source];
      await this.#revoke(vm, destination);
    }
  }

  #run(vm: StormVm, generation: number, { exportOf = generation } = {}): Promise<unknown> {
    const address = `10.1.0.${1 + (generation % 4)}`;
    const client = {
      vm: vm.id,
      generation: parseGeneration(generation),
      address,
      exportOf: parseGeneration(exportOf),
    };
    return Promise.all([
      ...vm.disks.map(({ disk }) => new Promise<void>((wrote) => void this.#writer(disk, client, wrote))),
      new Promise<void>((wrote) => void this.#sharer(client, wrote)),
    ]);
  }

  /** As `#writer`, at the shared disk. */
  async #sharer(client: Parameters<SimStorageNode['logIn']>[0], wrote: () => void): Promise<void> {
    const newest = (): number => this.#vms.find(({ id }) => id === client.vm)?.generation ?? 0;
    while (!this.#isOver && newest() - client.generation < 4) {
      await sleep(this.clock, this.#random.between(1, 60));
      const session = this.#machine.up ? await this.node.logIn(client) : 'refused';
      if (session === 'refused') {
        this.counts.refused++;
        await sleep(this.clock, 200);
        continue;
      }
      while (session.isOpen && !this.#isOver) {
        const outcome = await session.write(SHARED, ++this.#sequence);
        if (outcome === 'ok') wrote();
        else this.counts[outcome]++;
        await sleep(this.clock, this.#random.between(1, 60));
        if (this.#random.chance(2)) session.close();
      }
    }
  }

  /** A guest that never gives up: connects again whatever happens. */
  async #writer(disk: DiskId, client: Parameters<SimStorageNode['connect']>[1], wrote: () => void): Promise<void> {
    const newest = (): number => this.#vms.find(({ id }) => id === client.vm)?.generation ?? 0;
    // Kept small: of all the old ones the youngest go on.
    while (!this.#isOver && newest() - client.generation < 4) {
      await sleep(this.clock, this.#random.between(1, 60));
      const connection = this.#machine.up ? await this.node.connect(disk, client) : 'refused';
      if (connection === 'refused') {
        this.counts.refused++;
        await sleep(this.clock, 200);
        continue;
      }
      while (connection.isOpen && !this.#isOver) {
        const outcome = await connection.write(++this.#sequence);
        if (outcome === 'ok') wrote();
        else this.counts[outcome]++;
        await sleep(this.clock, this.#random.between(1, 60));
        // A process that ends, or a network that takes its connection.
        if (this.#random.chance(2)) connection.close();
      }
    }
  }

  #misfortune(): void {
    if (!this.#isStormy) return;
    this.clock.after(this.#random.wait(350), () => {
      if (!this.#isStormy) return;
      this.counts.faults++;
      this.#befall();
      this.#misfortune();
    });
  }

  #befall(): void {
    const random = this.#random;
    const { disk } = random.pick(random.pick(this.#vms).disks);
    const faults: Readonly<Record<string, () => void>> = {
      'service dies': () => this.node.crashService(),
      'daemon dies': () => void this.node.crashDaemon(disk),
      'service stands still': () => this.node.serviceProcess?.freezeFor(random.between(10, 6_000)),
      'daemon stands still': () => this.node.daemonProcess(disk)?.freezeFor(random.between(10, 4_000)),
      'target dies': () => void this.node.crashTarget(),
      'target stands still': () => this.node.targetProcess()?.freezeFor(random.between(10, 4_000)),
      'slow shared disk': () => this.node.slowDisk(SHARED, random.pick([0, 20, 500, 2_500, 9_000])),
      'slow disk': () => this.node.slowDisk(disk, random.pick([0, 20, 500, 2_500, 9_000])),
      'full pool': () => {
        this.node.pool.isFull = random.chance(30);
      },
      'power goes': () => {
        if (!random.chance(30)) return;
        this.#machine.powerOff();
        this.clock.after(random.between(100, 3_000), () => this.#machine.boot());
      },
    };
    const name = random.pick(Object.keys(faults));
    this.say(`-- ${name} ${disk}`);
    faults[name]?.();
  }

  #repair(): void {
    this.#machine.boot();
    this.node.pool.isFull = false;
    this.node.slowDisk(SHARED, 0);
    for (const { disks } of this.#vms) for (const { disk } of disks) this.node.slowDisk(disk, 0);
  }
}

function vmOf(n: number): StormVm {
  const id = (kind: string, m: number): string => `${kind}-${m.toString(16).padStart(12, '0')}`;
  const disks = Array.from({ length: 1 + n }, (_, m) => ({
    disk: parseDiskId(id('disk', 10 * n + m + 1)),
    port: 30_000 + 10 * n + m,
    readOnly: false,
  }));
  return { id: parseVmId(id('vm', n + 1)), disks, sharedDisks: [], generation: 0, admitted: [], isCreated: false };
}
