/** QMP to simulated QEMUs, by any path that leads to their host. */

import { present } from '../base/assert.ts';
import { CodedError } from '../base/errors.ts';
import type { Generation, VmId } from '../base/ids.ts';
import type { QmpObservation } from '../core/model/observation.ts';
import { pause } from '../core/ports/clock.ts';
import type { QmpLink, QmpTarget } from '../core/ports/qmp-link.ts';
import type { SimHost } from './sim-hosts.ts';
import { kernelReached, simPaths } from './sim-links.ts';
import { migrationIs, type SimQemu } from './sim-qemu.ts';
import type { SimSurroundings } from './sim-surroundings.ts';

const COMMAND_MS = 1_000;
const SILENCE_MS = 700;

/** One leader's QMP. `stale`: whether that leader was deposed already. */
export class SimQmpLink implements QmpLink {
  readonly #world: SimSurroundings;
  readonly #stale: () => boolean;
  readonly #targets = new Map<string, QmpTarget>();
  #listener: (target: QmpTarget) => void = () => undefined;

  constructor(world: SimSurroundings, stale: () => boolean) {
    this.#world = world;
    this.#stale = stale;
  }

  onEvent(listener: (target: QmpTarget) => void): void {
    this.#listener = listener;
  }

  forget(vm: VmId, generation: Generation): void {
    this.#targets.delete(`${vm}:${generation}`);
  }

  /** An event of a QEMU this leader is connected to; now and then it gets lost. */
  heard(host: SimHost, qemu: SimQemu): void {
    const target = this.#targets.get(qemu.key);
    if (target === undefined || this.#path(host) === null || this.#world.random.chance(20)) return;
    this.#world.clock.after(1 + this.#world.random.below(5), () => this.#listener(target));
  }

  async observe(target: QmpTarget): Promise<QmpObservation> {
    const { clock, random } = this.#world;
    this.#targets.set(`${target.vm}:${target.generation}`, target);
    await pause(clock, 1 + random.below(4));
    const host = this.#host(target);
    const via = this.#path(host);
    const paths = simPaths(this.#world)
      .list()
      .map(({ name }) => name);
    if (via === null) {
      await pause(clock, SILENCE_MS);
      return { kind: 'silent', paths, ageMs: 0 };
    }
    const qemu = host.processes.get(`${target.vm}:${target.generation}`);
    const taken = [...host.processes.values()].some(({ start }) => start.slot === target.slot);
    const seen = qemu === undefined ? null : { status: qemu.status, migration: qemu.migration };
    await pause(clock, 1 + random.below(4));
    if (seen === null) return { kind: taken ? 'mute' : 'refused', via, ageMs: 0 };
    this.#world.note({ kind: 'status', vm: target.vm, generation: target.generation, status: seen.status });
    return { kind: 'answers', status: seen.status, via, ageMs: 0, migration: seen.migration };
  }

  cont(target: QmpTarget): Promise<void> {
    this.#world.note({ kind: 'cont', vm: target.vm, generation: target.generation, stale: this.#stale() });
    return this.#order(target, (qemu, host) => {
      qemu.cont();
      this.#world.announce(host, qemu);
    });
  }

  halt(target: QmpTarget): Promise<void> {
    return this.#order(target, (qemu) => qemu.halt());
  }

  reset(target: QmpTarget): Promise<void> {
    return this.#order(target, (qemu) => qemu.reset());
  }

  powerDown(target: QmpTarget): Promise<void> {
    return this.#order(target, (qemu, host) => {
      if (host.deafGuests) return;
      this.#world.clock.after(300 + this.#world.random.below(700), () => {
        if (!qemu.isLive) return;
        qemu.status = 'shutdown';
        this.#world.announce(host, qemu);
      });
    });
  }

  quit(target: QmpTarget): Promise<void> {
    return this.#order(target, (qemu, host) => {
      host.end(qemu.start.vm, qemu.start.generation);
      this.#world.announce(host, qemu);
    });
  }

  listen(destination: QmpTarget, source: QmpTarget): Promise<void> {
    return this.#order(destination, (qemu) => {
      qemu.listeningFor = `${source.vm}:${source.generation}`;
    });
  }

  send(source: QmpTarget, destination: QmpTarget): Promise<void> {
    return this.#order(source, (qemu, host) => {
      if (qemu.migration?.status === 'active' || qemu.status === 'postmigrate') return;
      const there = this.#host(destination);
      const waiting = there.processes.get(`${destination.vm}:${destination.generation}`);
      const ready = waiting?.status === 'inmigrate' && waiting.listeningFor === qemu.key;
      if (waiting === undefined || !ready || host.storageCut || there.storageCut) {
        qemu.migration = migrationIs('failed', 'connection refused');
        return;
      }
      this.#world.beginStream({ host, qemu }, { host: there, qemu: waiting });
    });
  }

  cancelSend(source: QmpTarget): Promise<void> {
    return this.#order(source, (qemu) => {
      if (qemu.migration?.status === 'active') qemu.migration = migrationIs('cancelled');
    });
  }

  async #order(target: QmpTarget, act: (qemu: SimQemu, host: SimHost) => void): Promise<void> {
    const host = this.#host(target);
    const reached = (): boolean => this.#path(host) !== null;
    await this.#world.call({ reached, deadlineMs: COMMAND_MS, what: `QMP of ${target.vm}` }, () => {
      const qemu = host.processes.get(`${target.vm}:${target.generation}`);
      if (qemu === undefined) throw new CodedError('unavailable', `Nobody listens for ${target.vm} on ${target.host}.`);
      act(qemu, host);
    });
  }

  #host({ host }: QmpTarget): SimHost {
    return present(this.#world.hosts.get(host), `host ${host}`);
  }

  #path(host: SimHost): string | null {
    return (
      simPaths(this.#world)
        .list()
        .find((path) => kernelReached(this.#world, host, path))?.name ?? null
    );
  }
}
