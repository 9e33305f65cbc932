/**
 * People who change the membership: they remove hosts that were emptied, declare hosts lost that are cut off while their
 * guests run on, declare a storage node lost, and let machines join, new ones and those that were removed.
 */
import type { OperationId } from '../../api/operations.ts';
import { CodedError } from '../../base/errors.ts';
import type { HostName, StorageName } from '../../base/ids.ts';
import { askNode, type SimRequest } from '../api/sim-requests.ts';
import type { SimCluster } from '../cluster.ts';
import type { SimRandom } from '../time/sim-random.ts';

/** What others of the people do for these. */
export interface OtherPeople {
  readonly takeBack: (host: HostName) => void;
  readonly uncordon: (host: HostName) => void;
}

/** Hosts that are never declared lost or removed together with the others. */
const HOSTS_MIN = 2;
/** Machines that join beside those that the cluster begins with. */
const NEW_HOSTS_MAX = 2;
/** How long a host is cut off, and when it is declared lost from then on, in ms. */
const CUT_MS = [7_000, 20_000] as const;
const DECLARED_MS = [1_500, 5_000] as const;
/** How often a storage node is away at that time, so that no verdict says that the host is lost, and for how long. */
const UNHEARD_PERCENT = 40;
const UNHEARD_MS = [3_000, 10_000] as const;
/** Until a machine that is no member is wiped and joins, in ms. */
const BACK_MS = [1_000, 9_000] as const;
/** How long an emptied host is waited for, in ms. */
const EMPTY_MS = 15_000;
const LOOK_MS = 1_000;
/** A request for a lost host that waits for room is given up on, and another machine joins, after this, in ms. */
const ROOM_MS = 6_000;

/** See the module. */
export class MemberPeople {
  readonly #cluster: SimCluster;
  readonly #random: SimRandom;
  readonly #others: OtherPeople;
  /** How each cut is ended, and who is cut off. */
  readonly #heals = new Set<() => void>();
  readonly #away = new Set<string>();
  /** When each machine that is no member joins again. */
  readonly #back = new Map<HostName, number>();
  /** Since when each lost host has waited for its removal. */
  readonly #waiting = new Map<HostName, number>();
  #arrived = 0;
  #isTending = false;

  constructor(cluster: SimCluster, others: OtherPeople) {
    this.#cluster = cluster;
    this.#random = cluster.random.fork('member people');
    this.#others = others;
  }

  /** Somebody changes the membership. */
  act(): void {
    this.#tend();
    const chance = this.#random.below(100);
    if (chance < 50) this.#loseHost();
    else if (chance < 75) this.#removeHost();
    else if (chance < 90) this.#arrive();
    else this.#loseStorage();
  }

  /** Ends what these people have cut. */
  repair(): void {
    for (const heal of [...this.#heals]) heal();
  }

  /** Hosts that are members, and were not declared lost. */
  get #members(): readonly HostName[] {
    const { hosts, truth } = this.#cluster;
    return [...hosts.keys()].filter((name) => {
      const record = truth.tables.host.get(name);
      return record !== undefined && record.lost === undefined;
    });
  }

  /** A host hears nobody for a while and its guests run on; meanwhile somebody says that it is gone for good. */
  #loseHost(): void {
    const { clock, hosts, storage } = this.#cluster;
    const members = this.#members.filter((name) => !this.#away.has(name));
    if (members.length <= HOSTS_MIN) return;
    const busy = members.filter((name) => (hosts.get(name)?.qemus().length ?? 0) > 0);
    const host = this.#random.pick(busy.length > 0 && this.#random.chance(75) ? busy : members);
    const isHealed = this.#cut(host, ['control', 'storage', 'overlay'], this.#random.between(...CUT_MS));
    if (this.#random.chance(UNHEARD_PERCENT))
      this.#cut(this.#random.pick([...storage.keys()]), ['control'], this.#random.between(...UNHEARD_MS));
    clock.after(this.#random.between(...DECLARED_MS), () =>
      this.#until(
        () => isHealed() || !this.#members.includes(host),
        () => this.#declareLost(host),
      ),
    );
  }

  #declareLost(host: HostName): void {
    // Now and then without having read what happens.
    const query = this.#random.chance(80) ? { lost: true, confirmed: true } : { lost: true };
    this.#ask('deleteHost', { params: { host }, query });
  }

  /** A host is emptied, cordoned and removed; one that is not empty in time is taken back. */
  #removeHost(): void {
    const members = this.#members;
    if (members.length <= HOSTS_MIN) return;
    const host = this.#random.pick(members);
    const recordOf = () => this.#cluster.truth.tables.host.get(host);
    const endsAt = this.#cluster.now + EMPTY_MS;
    this.#ask('drainHost', { params: { host }, body: { parallel: 2 } });
    this.#until(
      () => recordOf() === undefined || this.#cluster.now > endsAt,
      () => {
        if (recordOf()?.maintenance?.isEmpty !== true) return;
        if (recordOf()?.cordoned !== true) this.#ask('patchHost', { params: { host }, body: { cordoned: true } });
        else this.#ask('deleteHost', { params: { host }, query: {} });
      },
      () => {
        this.#others.takeBack(host);
        this.#others.uncordon(host);
      },
    );
  }

  /** A machine that was never there joins. */
  #arrive(): void {
    if (this.#arrived >= NEW_HOSTS_MAX) return;
    const name = `n${++this.#arrived}` as HostName;
    this.#cluster.say(() => `people: ${name} is set up`);
    this.#cluster.addNewHost(name);
  }

  /** A storage node loses its power, or the control network alone, so that its disks are served on; and is given up. */
  #loseStorage(): void {
    const { machines, storage, swarm, truth } = this.#cluster;
    const standing = [...storage.keys()].filter((name) => truth.tables.storage.get(name)?.lost === undefined);
    // One at most is given up: what is left is to run.
    if (swarm.hasSharedDisks || standing.length < Math.max(2, storage.size)) return;
    const node = this.#random.pick(standing);
    const machine = machines.get(node);
    const lastsMs = this.#random.between(...CUT_MS);
    const isHealed = this.#cut(node, ['control'], lastsMs);
    if (machine !== undefined && this.#random.chance(50)) this.#cluster.powerOff(machine);
    this.#until(
      () => isHealed() || truth.tables.storage.get(node)?.lost !== undefined,
      () => this.#ask('deleteStorageNode', { params: { node }, query: { lost: true, confirmed: true } }),
      () => {
        if (machine !== undefined && truth.tables.storage.get(node)?.lost === undefined) this.#cluster.powerOn(machine);
      },
    );
  }

  /** Cuts a machine off some networks; the answer says whether that is over. */
  #cut(name: HostName | StorageName, networks: readonly ('control' | 'storage' | 'overlay')[], ms: number) {
    const { clock, network, say } = this.#cluster;
    const heals = networks.flatMap((on) => [network.cut(on, '*', name), network.cut(on, name, '*')]);
    say(() => `people see ${name} cut off ${networks.join(', ')}`);
    this.#cluster.touched(name);
    let isHealed = false;
    const heal = (): void => {
      if (!this.#heals.delete(heal)) return;
      for (const end of heals) end();
      isHealed = true;
      this.#away.delete(name);
      say(() => `${name} is there again`);
      this.#cluster.touched(name);
    };
    this.#heals.add(heal);
    this.#away.add(name);
    clock.after(ms, heal);
    return () => isHealed;
  }

  /** Machines that are no members are wiped and join some time later; where no host has room, another one joins. */
  #tend(): void {
    if (this.#isTending) return;
    this.#isTending = true;
    const look = (): void => {
      this.#cluster.clock.after(LOOK_MS, look);
      for (const name of this.#cluster.hosts.keys()) this.#tendTo(name);
    };
    look();
  }

  #tendTo(name: HostName): void {
    const { hosts, now, truth } = this.#cluster;
    const record = truth.tables.host.get(name);
    if (record?.lost === undefined) this.#waiting.delete(name);
    else {
      const since = this.#waiting.get(name) ?? now;
      this.#waiting.set(name, since);
      if (now - since > ROOM_MS) this.#arrive();
    }
    if (record !== undefined) {
      this.#back.delete(name);
      return;
    }
    const node = hosts.get(name);
    const at = this.#back.get(name) ?? now + this.#random.between(...BACK_MS);
    this.#back.set(name, at);
    if (node === undefined || now < at || !node.machine.up || node.isJoining) return;
    this.#cluster.say(() => `people: ${name} is wiped and joins again`);
    this.#cluster.touched(name);
    node.wipe();
    this.#cluster.supervise(node.machine);
  }

  /** Does something again and again until it is over. */
  #until(isOver: () => boolean, act: () => void, after: () => void = () => undefined): void {
    if (isOver()) {
      after();
      return;
    }
    act();
    this.#cluster.clock.after(LOOK_MS, () => this.#until(isOver, act, after));
  }

  /** Asks the leader, if somebody leads. What is refused was not wished, or is asked for again. */
  #ask(id: OperationId, request: SimRequest): void {
    const { leader, say } = this.#cluster;
    if (leader === null) return;
    say(() => `people: ${id} ${JSON.stringify(request)}`);
    askNode(this.#cluster, leader, id, request).catch((error: unknown) => {
      const why = error instanceof CodedError ? error.message : String(error);
      say(() => `people: ${id} is refused: ${why}`);
    });
  }
}
