/**
 * Members of a guest cluster as QEMU processes on this machine, for this folder's tests: one heartbeat network, one shared disk from our own
 * SCSI target, each member one initiator whatever process it runs in. Everything ends with `end`.
 */
import { join } from 'node:path';
import { present } from '../../base/assert.ts';
import { run } from '../../os/child-process.ts';
import { pause } from '../../os/deadline.ts';
import { STANDALONE_TARGET } from '../../target/serve.ts';
import type { GuestClusterImage } from '../guest-cluster.ts';
import { Guest } from './guest.ts';

/** Docs/decisions/0012: no multiple of 256 KiB. */
const MEMORY_KIB = 384 * 1024 + 8;
const MIGRATION_DEADLINE_MS = 60_000;
const POLL_MS = 50;
const LINES_SHOWN = 30;

export interface WaitOptions {
  readonly deadlineMs: number;
  readonly since?: ReadonlyMap<string, number>;
}

/** What was waited for, and who said it. */
export interface Said {
  readonly name: string;
  readonly match: RegExpExecArray;
}

export interface RigOptions {
  readonly directory: string;
  readonly image: GuestClusterImage;
  readonly members: readonly string[];
  /** The shared disk as guests name it. */
  readonly disk: string;
  /** Where our target listens on 127.0.0.1. */
  readonly targetPort: number;
  /** UDP port of the heartbeat network's multicast group. */
  readonly networkPort: number;
}

/** What a migration took, seen from outside. */
export interface Migration {
  readonly totalMs: number;
  readonly downtimeMs: number;
}

export class ClusterRig {
  private readonly options: RigOptions;
  private readonly running = new Map<string, Guest>();
  /** Every process of a member, in the order of their starts. */
  private readonly all = new Map<string, Guest[]>();
  private migrations = 0;

  constructor(options: RigOptions) {
    this.options = options;
  }

  /** Makes the members' disks. */
  async prepare(): Promise<void> {
    for (const name of this.options.members) {
      const from = ['-F', 'qcow2', '-b', this.options.image.diskPath];
      await run(['qemu-img', 'create', '-q', '-f', 'qcow2', ...from, this.diskOf(name)], { deadlineMs: 20_000 });
    }
  }

  /** The process a member runs in now. */
  guest(name: string): Guest {
    return present(this.running.get(name), `${name} runs`);
  }

  /** Everything that a member has said, in whatever process. */
  console(name: string): string {
    return (this.all.get(name) ?? []).map(({ serial }) => serial).join('');
  }

  /** How long the consoles are now. */
  mark(): ReadonlyMap<string, number> {
    return new Map(this.options.members.map((name) => [name, this.console(name).length]));
  }

  /** The match in the first of these consoles that has one, after the mark. */
  async firstOf(names: readonly string[], pattern: RegExp, options: WaitOptions): Promise<Said> {
    const signal = AbortSignal.timeout(options.deadlineMs);
    for (;;) {
      for (const name of names) {
        const match = pattern.exec(this.console(name).slice(options.since?.get(name) ?? 0));
        if (match !== null) return { name, match };
      }
      if (signal.aborted) throw new Error(`no ${pattern}:\n${names.map((name) => this.lastLines(name)).join('\n')}`);
      await pause(POLL_MS);
    }
  }

  boot(name: string): Guest {
    const guest = this.launch(name, []);
    this.running.set(name, guest);
    return guest;
  }

  /** kill -9. */
  async kill(name: string): Promise<void> {
    await this.guest(name).end();
    this.running.delete(name);
  }

  /** Live migration to a new process, which runs from then on. */
  async migrate(name: string): Promise<Migration> {
    const source = this.guest(name);
    const destination = this.launch(name, ['-S', '-incoming', 'defer']);
    this.migrations += 1;
    const uri = `unix:${join(this.options.directory, `migration-${this.migrations}`)}`;
    const caps = [{ capability: 'events', state: true }];
    await destination.qmp('migrate-set-capabilities', { capabilities: caps });
    await destination.qmp('migrate-incoming', { uri });
    const startMs = performance.now();
    await source.qmp('migrate-set-parameters', { 'downtime-limit': 300, 'max-bandwidth': 1024 ** 3 });
    await source.qmp('migrate', { uri });
    const info = await onceMigrated(source);
    await onceComplete(destination);
    await destination.qmp('cont');
    const totalMs = performance.now() - startMs;
    await source.end();
    this.running.set(name, destination);
    return { totalMs, downtimeMs: info };
  }

  async end(): Promise<void> {
    await Promise.all([...this.all.values()].flat().map((guest) => guest.end()));
  }

  private lastLines(name: string): string {
    const lines = this.console(name).split('\n');
    return [`--- ${name}`, ...lines.filter((line) => !/seq |pause-/.test(line)).slice(-LINES_SHOWN)].join('\n');
  }

  private diskOf(name: string): string {
    return join(this.options.directory, `${name}.qcow2`);
  }

  private launch(name: string, more: readonly string[]): Guest {
    const { image, members, disk, targetPort, networkPort, directory } = this.options;
    const index = members.indexOf(name) + 1;
    const list = members.map((member, at) => `${member}=10.9.0.${at + 1}`).join();
    const words = `gp.hostname=${name} gp.cluster.members=${list} gp.cluster.disk=${disk}`;
    const system = { driver: 'qcow2', 'node-name': 'system', file: { driver: 'file', filename: this.diskOf(name) } };
    const shared = {
      driver: 'iscsi',
      'node-name': 'shared',
      transport: 'tcp',
      portal: `127.0.0.1:${targetPort}`,
      target: STANDALONE_TARGET,
      lun: 0,
      'initiator-name': `iqn.2026-11.org.groundplane:vm:${name}`,
    };
    const mac = `52:54:00:09:00:0${index}`;
    const args = [
      ...['-kernel', image.kernelPath, '-initrd', image.initrdPath, '-append', `${image.append} ${words}`],
      ...['-blockdev', JSON.stringify(system), '-device', 'virtio-blk-pci,drive=system'],
      ...['-blockdev', JSON.stringify(shared), '-device', 'virtio-scsi-pci,id=scsi'],
      // The conflict is the guest's to see: with `stop` QEMU would pause a member that lost its registration.
      ...['-device', 'scsi-block,bus=scsi.0,drive=shared,werror=report,rerror=report'],
      ...['-netdev', `socket,id=hb,mcast=239.77.0.1:${networkPort},localaddr=127.0.0.1`],
      ...['-device', `virtio-net-pci,netdev=hb,mac=${mac},romfile=`],
      ...['-device', 'virtio-rng-pci', ...more],
    ];
    const guest = new Guest({ directory, memoryKib: MEMORY_KIB, args });
    this.all.set(name, [...(this.all.get(name) ?? []), guest]);
    return guest;
  }
}

interface MigrateInfo {
  readonly status?: string;
  readonly downtime?: number;
  readonly 'error-desc'?: string;
}

/** Waits until the source has sent everything; answers how long it says that it stood still. */
async function onceMigrated(source: Guest): Promise<number> {
  const deadline = AbortSignal.timeout(MIGRATION_DEADLINE_MS);
  for (;;) {
    deadline.throwIfAborted();
    const info = (await source.qmp('query-migrate')) as MigrateInfo;
    if (info.status === 'completed') return info.downtime ?? 0;
    if (info.status === 'failed') throw new Error(`the migration failed: ${info['error-desc'] ?? ''}`);
    await pause(10);
  }
}

async function onceComplete(destination: Guest): Promise<void> {
  const deadline = AbortSignal.timeout(MIGRATION_DEADLINE_MS);
  for (;;) {
    deadline.throwIfAborted();
    const { status } = (await destination.qmp('query-status')) as { readonly status: string };
    if (status !== 'inmigrate') return;
    await pause(5);
  }
}
