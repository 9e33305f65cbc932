/**
 * Members of a guest cluster as QEMU processes on this machine, for this folder's tests: one heartbeat network, one shared disk from our own
 * SCSI target, each member one initiator whatever process it runs in. Everything ends with `end`.
 */
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { present } from '../../base/assert.ts';
import { run } from '../../os/child-process.ts';
import { pause } from '../../os/deadline.ts';
import { STANDALONE_TARGET } from '../../target/serve.ts';
import { makeSeedIso } from '../../wire/iso9660/seed-iso.ts';
import type { GuestClusterImage } from '../guest-cluster.ts';
import { Guest } from './guest.ts';

/** Docs/decisions/0012: no multiple of 256 KiB. */
const MEMORY_KIB = 384 * 1024 + 8;
const MIGRATION_DEADLINE_MS = 60_000;
const AGENT_DEADLINE_MS = 20_000;
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
  /** Where the guest agent of each process is reached. */
  private readonly agents = new Map<Guest, string>();
  private migrations = 0;
  private launches = 0;

  constructor(options: RigOptions) {
    this.options = options;
  }

  /** Makes the members' disks and seeds. */
  async prepare(): Promise<void> {
    const list = this.options.members.map((member, at) => `${member}=10.9.0.${at + 1}`).join();
    for (const name of this.options.members) {
      const files = [
        { name: 'user-data', content: `#groundplane-cluster\nmembers=${list}\ncluster=sql\n` },
        { name: 'meta-data', content: `instance-id: ${name}\nlocal-hostname: ${name}\n` },
      ];
      await writeFile(this.seedOf(name), makeSeedIso({ volumeLabel: 'CIDATA', files }));
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

  /** What the QEMU guest agent of a member says to `guest-sync`. */
  async askAgent(name: string): Promise<string> {
    const socket = connect(present(this.agents.get(this.guest(name)), 'an agent'));
    socket.setTimeout(AGENT_DEADLINE_MS, () => socket.destroy(new Error(`the guest agent of ${name} is silent`)));
    try {
      socket.write('{"execute":"guest-sync","arguments":{"id":7}}\n');
      let text = '';
      for await (const chunk of socket.setEncoding('utf8')) {
        text += chunk;
        if (text.includes('\n')) break;
      }
      return text.trim();
    } finally {
      socket.destroy();
    }
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

  private seedOf(name: string): string {
    return join(this.options.directory, `${name}.iso`);
  }

  private launch(name: string, more: readonly string[]): Guest {
    const { image, members, disk, targetPort, networkPort, directory } = this.options;
    const index = members.indexOf(name) + 1;
    const system = { driver: 'qcow2', 'node-name': 'system', file: { driver: 'file', filename: this.diskOf(name) } };
    const seed = { driver: 'file', 'node-name': 'seed', filename: this.seedOf(name), 'read-only': true };
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
    const append = `${image.append} gp.cluster.disk=${disk}`;
    this.launches += 1;
    const agent = join(directory, `agent-${this.launches}`);
    const args = [
      ...['-kernel', image.kernelPath, '-initrd', image.initrdPath, '-append', append],
      ...['-blockdev', JSON.stringify(system), '-device', 'virtio-blk-pci,drive=system'],
      ...['-blockdev', JSON.stringify(seed), '-device', 'virtio-blk-pci,drive=seed'],
      ...['-blockdev', JSON.stringify(shared), '-device', 'virtio-scsi-pci,id=scsi'],
      // The conflict is the guest's to see: with `stop` QEMU would pause a member that lost its registration.
      ...['-device', 'scsi-block,bus=scsi.0,drive=shared,werror=report,rerror=report'],
      ...['-netdev', `socket,id=hb,mcast=239.77.0.1:${networkPort},localaddr=127.0.0.1`],
      ...['-device', `virtio-net-pci,netdev=hb,mac=${mac},romfile=`],
      ...['-chardev', `socket,id=agent,path=${agent},server=on,wait=off`, '-device', 'virtio-serial-pci'],
      ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
      ...['-device', 'virtio-rng-pci', ...more],
    ];
    const guest = new Guest({ directory, memoryKib: MEMORY_KIB, args });
    this.agents.set(guest, agent);
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
