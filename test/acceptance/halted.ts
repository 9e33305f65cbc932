/** Paused guests: no operation on them loses their memory. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Task } from '../../src/api/views.ts';
import { present } from '../../src/base/assert.ts';
import { sleep } from '../../src/base/sleep.ts';
import { systemClock } from '../../src/os/clock.ts';
import { isRunning, type ProcessIdentity, signalProcess } from '../../src/os/process-table.ts';
import { runningQemus } from '../stories/guests.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import {
  acknowledged,
  type Case,
  createTiny,
  deleteVms,
  gp,
  gpJson,
  growsBeyond,
  until,
  untilSaid,
  untilVm,
  vmOf,
} from './case.ts';

const MIB = 1024 * 1024;
/** Size of the guest's data in memory, so that its copy takes a while. */
const DIRTY_MIB = 320;
/** A QEMU that is about to receive a guest's memory uses less than this. */
const RECEIVING_BYTES = 160 * MIB;
const STILL_MS = 1_500;

/** Returns the kinds of a VM's events, in order. */
async function eventKinds(cluster: StoryCluster, name: string): Promise<readonly string[]> {
  return (await gpJson<readonly { kind: string }[]>(cluster, ['vm', 'events', name])).map(({ kind }) => kind);
}

/** Asserts that no generation of the VM ended by itself. */
async function assertNothingEnded(cluster: StoryCluster, name: string): Promise<void> {
  const kinds = await eventKinds(cluster, name);
  assert.ok(
    !kinds.some((kind) => ['crashed', 'lost', 'launch-failed', 'migration-undone'].includes(kind)),
    kinds.join(),
  );
}

/** Asserts that the guest's sequence continues from its memory: the guest did not boot again. */
async function assertNeverBooted(cluster: StoryCluster, name: string): Promise<void> {
  const { id } = await vmOf(cluster, name);
  cluster.serial.look();
  const said = cluster.serial
    .of(id)
    .map(({ text }) => text)
    .join('');
  assert.equal(said.match(/groundplane-tiny ready/g)?.length, 1, said.slice(-800));
}

const movesTwice: Case = {
  name: 'a paused guest moves twice and goes on from its memory: with a seed, with UEFI, with a shared disk, reset between the moves',
  async run(cluster) {
    const userData = join(cluster.dir, 'halted-user-data');
    await writeFile(userData, '#cloud-config\n');
    await createTiny(cluster, 'p1', ['--append', 'gp.workload=sequence', '--user-data', userData]);
    await gp(cluster, ['vm', 'create', 'p2', '--firmware', 'uefi', '--memory', '96M', '--disk', '8M']);
    await createTiny(cluster, 'p3', ['--append', 'gp.workload=sequence']);
    await gp(cluster, ['shared-disk', 'create', 'pshared:8M']);
    await gp(cluster, ['shared-disk', 'attach', 'pshared', 'p3']);
    await growsBeyond(cluster, 'p1', 3);
    await growsBeyond(cluster, 'p3', 3);
    for (const name of ['p1', 'p2', 'p3']) {
      await gp(cluster, ['vm', 'pause', name]);
      await untilVm(cluster, name, { verdict: 'suspended' });
    }
    const before = await acknowledged(cluster, 'p1');
    for (const generation of [2, 3]) {
      for (const name of ['p1', 'p2', 'p3']) {
        await gp(cluster, ['vm', 'migrate', name]);
        await untilVm(cluster, name, { verdict: 'suspended', generation });
      }
      if (generation === 2) await gp(cluster, ['vm', 'reset', 'p2']);
    }
    assert.equal(await acknowledged(cluster, 'p1'), before);
    // Attaches and detaches devices while a guest is paused that was never continued on this host.
    await gp(cluster, ['shared-disk', 'detach', 'pshared', 'p3']);
    await gp(cluster, ['vm', 'migrate', 'p3']);
    await gp(cluster, ['shared-disk', 'attach', 'pshared', 'p3']);
    await gp(cluster, ['vm', 'migrate', 'p3']);
    for (const name of ['p1', 'p2', 'p3']) {
      await gp(cluster, ['vm', 'resume', name]);
      await untilVm(cluster, name, { verdict: 'running' });
      await assertNothingEnded(cluster, name);
    }
    await growsBeyond(cluster, 'p1', before + 3);
    await growsBeyond(cluster, 'p3', (await acknowledged(cluster, 'p3')) + 3);
    for (const name of ['p1', 'p3']) await assertNeverBooted(cluster, name);
    await gp(cluster, ['vm', 'stop', 'p1', '--patience', '60s']);
    await untilSaid(cluster, 'p1', /groundplane-tiny power button/);
    await gp(cluster, ['shared-disk', 'detach', 'pshared', 'p3']);
    await deleteVms(cluster, ['p1', 'p2', 'p3']);
    await gp(cluster, ['shared-disk', 'delete', 'pshared']);
  },
};

/** Stops the receiving QEMU of a migration in the middle of the copy: the migration lasts until it is continued. */
async function holdMove(cluster: StoryCluster, name: string): Promise<ProcessIdentity> {
  const { id, generation } = await vmOf(cluster, name);
  await gp(cluster, ['vm', 'migrate', name, '--no-wait']);
  const receiver = await until('the destination receives', () => {
    const qemu = runningQemus().find((seen) => seen.vm === id && seen.generation > generation);
    return qemu !== undefined && residentBytes(qemu.process) > RECEIVING_BYTES ? qemu.process : undefined;
  });
  signalProcess(receiver, 'SIGSTOP');
  return receiver;
}

function residentBytes({ pid }: ProcessIdentity): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

const pausedWhileMoving: Case = {
  name: 'a guest that is paused during its move stands still at once, arrives paused, and goes on from its memory',
  async run(cluster) {
    await createTiny(cluster, 'p4', ['--memory', '512M', '--append', `gp.workload=sequence gp.dirty=${DIRTY_MIB}`]);
    await untilSaid(cluster, 'p4', /dirty-pass 1/);
    const { generation } = await vmOf(cluster, 'p4');
    const receiver = await holdMove(cluster, 'p4');
    try {
      await gp(cluster, ['vm', 'pause', 'p4']);
      const before = await acknowledged(cluster, 'p4');
      // There is no event to wait for: the test shows that none comes.
      await sleep(systemClock, STILL_MS);
      assert.equal(await acknowledged(cluster, 'p4'), before);
      assert.equal((await eventKinds(cluster, 'p4')).at(-1), 'paused');
    } finally {
      signalProcess(receiver, 'SIGCONT');
    }
    await untilVm(cluster, 'p4', { verdict: 'suspended', generation: generation + 1 });
    const arrived = await acknowledged(cluster, 'p4');
    await gp(cluster, ['vm', 'resume', 'p4']);
    assert.equal((await eventKinds(cluster, 'p4')).at(-1), 'resumed');
    await growsBeyond(cluster, 'p4', arrived + 3);
    await assertNothingEnded(cluster, 'p4');
    await assertNeverBooted(cluster, 'p4');
  },
};

const cancelled: Case = {
  name: 'a move is cancelled: the guest stays where it is, its task says so, and the next move works',
  async run(cluster) {
    const { host } = await vmOf(cluster, 'p4');
    const receiver = await holdMove(cluster, 'p4');
    try {
      const { stdout } = await gp(cluster, ['vm', 'migrate', 'p4', '--cancel']);
      assert.match(stdout, /The move was undone: it was cancelled\. p4 stays on/);
    } finally {
      if (isRunning(receiver)) signalProcess(receiver, 'SIGCONT');
    }
    await untilVm(cluster, 'p4', { verdict: 'running', host });
    await growsBeyond(cluster, 'p4', (await acknowledged(cluster, 'p4')) + 3);
    const tasks = await gpJson<readonly Task[]>(cluster, ['task', 'list']);
    const move = tasks.findLast(({ kind, target }) => kind === 'vm.migrate' && target.name === 'p4');
    assert.equal(move?.state, 'cancelled');
    const { stderr } = await gp(cluster, ['task', 'cancel', present(move, 'move').id], 5);
    assert.match(stderr, /has ended: cancelled\. Nothing was changed/);
    assert.match((await gp(cluster, ['vm', 'migrate', 'p4', '--cancel'], 5)).stderr, /p4 is not being migrated/);
    await gp(cluster, ['vm', 'migrate', 'p4']);
    await growsBeyond(cluster, 'p4', (await acknowledged(cluster, 'p4')) + 3);
    await assertNeverBooted(cluster, 'p4');
    await deleteVms(cluster, ['p4']);
  },
};

const stoppedSoon: Case = {
  name: 'a guest that is stopped while it boots shuts down by itself as soon as it listens',
  async run(cluster) {
    await createTiny(cluster, 'p5');
    await gp(cluster, ['vm', 'stop', 'p5', '--patience', '90s']);
    await untilVm(cluster, 'p5', { verdict: 'stopped' });
    await untilSaid(cluster, 'p5', /groundplane-tiny power button/);
    await deleteVms(cluster, ['p5']);
  },
};

export const halted: readonly Case[] = [movesTwice, pausedWhileMoving, cancelled, stoppedSoon];
