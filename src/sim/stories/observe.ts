/**
 * What a story can ask about a simulated cluster, in the words of test/stories/observe.ts: what the API says is said by
 * the real views over the simulated leader (control/backend/views.ts); everything else is looked up in the simulated
 * world, where nothing is hidden.
 */

import type { HostName, StorageName, VmId } from '../../base/ids.ts';
import { own } from '../../base/own.ts';
import { hostView, storageView, vmDetailView } from '../../control/backend/views.ts';
import type { TaskRecord } from '../../core/model/cluster.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import type { Entry } from '../../core/ports/store.ts';
import { meets } from '../../stories/story-language.ts';
import type { Seen, Waiting } from '../../stories/story-teller.ts';
import type { SimHostNode } from '../machines/host-node.ts';
import { isOpenPath, pathsOf } from '../machines/topology.ts';
import { addressOf } from '../network/addresses.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';
import { findVm } from './gp-commands.ts';
import type { Answering, StoryCluster } from './story-cluster.ts';

/** As the real stories have them. */
const CONTINUES_LINES = 5;
const STALLED_MS = 1_500;

const NO_ANSWER: Seen = { met: false, what: 'no answer' };

type Look = (words: readonly string[], waiting: Waiting) => Seen;

/** Tells one simulated cluster's present to a story. */
export class Observer {
  readonly #cluster: StoryCluster;
  /** Processes that the story named. */
  readonly #processes = new Map<string, QemuProcess>();
  /** A sequence is also looked at while no server answers. */
  readonly #ids = new Map<string, VmId>();

  constructor(cluster: StoryCluster) {
    this.#cluster = cluster;
  }

  /** The value of a fact. Throws an Error when there is none. */
  fact(words: readonly string[]): string {
    const [what = '', of, subject = ''] = words;
    const server = this.#cluster.answering() ?? fail('No control node answers.');
    if (what === 'leader') return server.name;
    if (what === 'other' && of === 'host') {
      const not = words.slice(3);
      return (
        [...server.store.hosts.keys()].sort().find((name) => !not.includes(name)) ?? fail('There is no other host.')
      );
    }
    if (of !== 'of') throw new Error(`There is no fact ${words.join(' ')}.`);
    if (what === 'process') return this.#nameProcess(server, subject);
    const vm: Readonly<Record<string, unknown>> = { ...vmAt(server, subject) };
    const value = what === 'address' ? findVm(server, subject).value.spec.nics[0]?.address : own(vm, what);
    if (typeof value === 'string' || typeof value === 'number') return String(value);
    throw new Error(`${subject} has no ${what}.`);
  }

  /** Whether what `words` say is so at this instant. Throws an Error for words that say nothing. */
  look(words: readonly string[], waiting: Waiting): Seen {
    const [what = ''] = words;
    const look = own(this.#looks, what);
    if (look === undefined) throw new Error(`The simulator knows nothing about ${JSON.stringify(what)}.`);
    return look(words.slice(1), waiting);
  }

  readonly #looks: Readonly<Record<string, Look>> = {
    vm: ([name = '', ...conditions]) => this.#ask((server) => vmAt(server, name), conditions),
    host: ([name = '', ...conditions]) =>
      this.#ask((server) => {
        const entry = server.store.hosts.get(name as HostName) ?? fail(`There is no host ${name}.`);
        return hostView(server.context, entry);
      }, conditions),
    'storage-node': ([name = '', ...conditions]) =>
      this.#ask((server) => {
        const entry = server.store.storage.get(name as StorageName) ?? fail(`There is no storage node ${name}.`);
        return storageView(server.context, entry);
      }, conditions),
    cluster: (conditions) => this.#ask(({ name, term }) => ({ leader: name, term }), conditions),
    'control-node': ([name = '', ...conditions]) => this.#ask((server) => this.#controlNode(server, name), conditions),
    no: ([what, name]) => this.#noTask(what, name),
    sequence: (words, waiting) => this.#sequence(words, waiting),
    process: ([name = '', state = '']) => this.#process(name, state),
    qemu: ([name = '', , host = '', ...conditions]) => {
      const { process, status } = this.#named(name);
      if (process.machine.name !== host) return { met: false, what: `${name} is on ${process.machine.name}` };
      return found({ status: process.isAlive ? status : 'gone' }, conditions);
    },
    console: ([name = '']) => this.#console(name),
    guest: ([name = '', , asker = '', ...conditions]) =>
      this.#ask((server) => ({ generation: this.#answerers(server, name, asker).join(' and ') || 'none' }), conditions),
    log: ([role = '', , machine = '', text = '']) => {
      const process = `${role === 'control' ? 'server' : role} ${machine}`;
      return { met: this.#cluster.hasLogged(process, text), what: `the log of ${process}` };
    },
    crash: () => {
      const { failpoint } = this.#cluster.faults;
      return { met: failpoint === null, what: failpoint === null ? 'it was met' : `still to come: ${failpoint.step}` };
    },
  };

  #ask(view: (server: Answering) => object, conditions: readonly string[]): Seen {
    const server = this.#cluster.answering();
    return server === null ? NO_ANSWER : found(view(server), conditions);
  }

  #controlNode(server: Answering, name: string): object {
    const { controls, network } = this.#cluster.sim;
    const node = controls.get(name) ?? fail(`There is no control node ${name}.`);
    const leader = controls.get(server.name) ?? node;
    const isReached =
      network.isOpen('control', leader.machine, node.machine) &&
      network.isOpen('control', node.machine, leader.machine);
    const state = node.process?.isRunning === true && isReached ? 'alive' : 'dead';
    return { name, leader: server.name === name, state };
  }

  /** `expect no task web1`: nothing that was asked of the VM is still under way. */
  #noTask(what = '', name = ''): Seen {
    if (what !== 'task') throw new Error('expect no task VM');
    const server = this.#cluster.answering();
    if (server === null) return NO_ANSWER;
    const running = [...server.store.tasks.values()].filter(
      ({ value }) => value.state === 'running' && value.target.kind === 'vm' && value.target.name === name,
    );
    return { met: running.length === 0, what: JSON.stringify(running.map(({ value }) => value)) };
  }

  #sequence([name = '', how = '', , by]: readonly string[], { since }: Waiting): Seen {
    const { guests, nowMs } = this.#cluster;
    const id = this.#id(name);
    if (id === undefined) return { met: false, what: 'the VM was not seen yet' };
    const at = guests.acknowledged(id);
    if (how === 'stalls') return { met: guests.silentMs(id, nowMs) >= STALLED_MS, what: `at ${at}` };
    if (how === 'undisturbed') {
      const troubles = guests.troubles(id);
      return { met: troubles.length === 0 && at > 0, what: `at ${at}; ${troubles.join('; ')}` };
    }
    if (how !== 'continues') throw new Error(`A sequence continues, stalls, or is undisturbed; not ${how}.`);
    const from = since.get(id) ?? at;
    since.set(id, from);
    return { met: at >= from + Number(by ?? CONTINUES_LINES), what: `at ${at}, was at ${from}` };
  }

  #process(name: string, state: string): Seen {
    const { isAlive } = this.#named(name).process;
    if (state !== 'alive' && state !== 'gone') throw new Error(`A process is alive or gone, not ${state}.`);
    return { met: isAlive === (state === 'alive'), what: `${name} is ${isAlive ? 'alive' : 'gone'}` };
  }

  /**
   * A console leads through the leader to the QEMU, over any path that works, and its guest answers while it computes.
   */
  #console(name: string): Seen {
    const server = this.#cluster.answering();
    if (server === null) return NO_ANSWER;
    const { sim } = this.#cluster;
    const qemu = this.#qemuOf(server, name);
    const leader = sim.controls.get(server.name);
    if (qemu === undefined || leader === undefined) return { met: false, what: 'its QEMU is not there' };
    const { machine } = qemu.process;
    const open = pathsOf(sim, leader.name).filter((path) => isOpenPath(sim, leader.machine, path, machine));
    return { met: qemu.isLive && open.length > 0, what: `${qemu.status}, ${open.length} paths` };
  }

  /**
   * The generations that answer at a guest's address when another guest asks, by the overlays in force on their hosts.
   */
  #answerers(server: Answering, name: string, asker: string): readonly number[] {
    const { sim } = this.#cluster;
    const from = this.#qemuOf(server, asker);
    const { id, spec } = findVm(server, name).value;
    const network = spec.nics[0]?.network;
    if (from?.isLive !== true || network === undefined) return [];
    const here = this.#hostOf(from);
    const generations: number[] = [];
    for (const qemu of sim.qemus) {
      if (qemu.order.vm !== id || !qemu.isLive) continue;
      const there = this.#hostOf(qemu);
      if (
        here === there ||
        (floodsTo(here, there, network) && floodsTo(there, here, network) && this.#areJoined(here, there))
      )
        generations.push(qemu.order.generation);
    }
    return generations;
  }

  #areJoined({ machine: a }: SimHostNode, { machine: b }: SimHostNode): boolean {
    const { network } = this.#cluster.sim;
    return network.isOpen('overlay', a, b) && network.isOpen('overlay', b, a);
  }

  #hostOf(qemu: QemuProcess): SimHostNode {
    const { name } = qemu.process.machine;
    return this.#cluster.sim.hosts.get(name as HostName) ?? fail(`There is no host ${name}.`);
  }

  #qemuOf(server: Answering, name: string): QemuProcess | undefined {
    const { id, generation } = vmAt(server, name);
    return this.#cluster.sim.qemuOf(id as VmId, generation);
  }

  #nameProcess(server: Answering, name: string): string {
    const { generation } = vmAt(server, name);
    const qemu = this.#qemuOf(server, name) ?? fail(`No QEMU of ${name}, generation ${generation}, runs.`);
    const called = `${name}/g${generation}/${qemu.process.machine.name}#${this.#processes.size + 1}`;
    this.#processes.set(called, qemu);
    return called;
  }

  #named(name: string): QemuProcess {
    return this.#processes.get(name) ?? fail(`${name} names no process.`);
  }

  #id(name: string): VmId | undefined {
    const id = this.#cluster.answering()?.store.vmNames.get(name)?.value;
    if (id !== undefined) this.#ids.set(name, id as VmId);
    return this.#ids.get(name);
  }
}

/** What GET /v1/vms/NAME answers. */
function vmAt(server: Answering, name: string): ReturnType<typeof vmDetailView> {
  const entry = findVm(server, name);
  return vmDetailView(server.context, entry, taskOf(server, entry.value));
}

function taskOf({ store }: Answering, vm: VmRecord): Entry<TaskRecord> | null {
  const ofPhase = 'taskId' in vm.phase ? vm.phase.taskId : null;
  const asked = vm.stopRequest?.taskId ?? vm.migrationRequest?.taskId ?? vm.resetRequest?.taskId;
  const id = ofPhase ?? asked ?? vm.startTask;
  return id === null ? null : (store.tasks.get(id) ?? null);
}

/** Whether frames of a network leave one host for another, and are not dropped there, by the plans in force. */
function floodsTo(from: SimHostNode, to: SimHostNode, network: string): boolean {
  const sent = from.network?.networks.find(({ name }) => name === network)?.peers ?? [];
  const isMember = to.network?.networks.some(({ name }) => name === network) === true;
  const dropped = to.network?.drop ?? [];
  return isMember && sent.includes(addressOf('overlay', to.name)) && !dropped.includes(addressOf('overlay', from.name));
}

function found(object: object, conditions: readonly string[]): Seen {
  return { met: conditions.every((condition) => meets(object, condition)), what: JSON.stringify(object) };
}

function fail(why: string): never {
  throw new Error(why);
}
