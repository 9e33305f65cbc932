import assert from 'node:assert/strict';
import { test } from 'node:test';
import { present } from '../../base/assert.ts';
import type { HostName } from '../../base/ids.ts';
import type { TraceEntry } from '../../core/check/trace.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { NO_HOST_TROUBLES } from '../agent/agent-machine.ts';
import { SimCluster } from '../cluster.ts';
import { calmSwarm } from '../faults/swarm.ts';
import type { SimHostNode } from '../machines/host-node.ts';
import { People } from '../people/people.ts';
import type { QemuProcess } from '../qemu/qemu-process.ts';
import { begin } from '../run.ts';

/** Deadline for a start on another host, in ms. */
const ELSEWHERE_MS = 20_000;
/** Duration of a fault, in ms: longer than any accepted wait. */
const FAULT_MS = 300_000;
/** Deadline after which a delayed action must have continued, in ms. */
const LATER_MS = 90_000;
const SEEDS = [1, 2, 3];

interface Misfortune {
  readonly name: string;
  /** A fault of the host before this step of a leader. */
  readonly at: string;
  readonly befall: (cluster: SimCluster, host: SimHostNode) => void;
}

const freezeAgent: Misfortune['befall'] = (_cluster, host) => present(host.agentProcess, 'agent').freezeFor(FAULT_MS);
/** The process is not restarted. */
const endAgent: Misfortune['befall'] = (_cluster, host) => present(host.agentProcess, 'agent').end();

/** The host's kernel and storage network work: storage nodes reach the host, and no control node does. */
const cutControl: Misfortune['befall'] = ({ network }, host) => {
  network.cut('control', '*', host.name);
  network.cut('control', host.name, '*');
};

function whenLaunched(cluster: SimCluster, host: SimHostNode, act: (qemu: QemuProcess) => void): void {
  const [qemu] = host.qemus();
  if (qemu === undefined) cluster.clock.after(1, () => whenLaunched(cluster, host, act));
  else act(qemu);
}

const AT_START: readonly Misfortune[] = [
  {
    name: 'its QEMU hangs before its agent hears from it',
    at: 'start launch',
    befall: (cluster) => {
      Object.assign(cluster.swarm.hostTroubles, { startHangs: 100 });
      cluster.clock.after(1_000, () => Object.assign(cluster.swarm.hostTroubles, { startHangs: 0 }));
    },
  },
  { name: 'no control node reaches its host', at: 'start launch', befall: cutControl },
  {
    name: 'its agent stands still and its leader dies',
    at: 'start launch',
    befall: (cluster, host) => {
      freezeAgent(cluster, host);
      cluster.leader?.process?.end();
    },
  },
  { name: 'its agent stands still before the fence', at: 'start fence', befall: freezeAgent },
  { name: 'its agent stands still at the launch', at: 'start launch', befall: freezeAgent },
  { name: 'its agent dies at the launch', at: 'start launch', befall: endAgent },
  { name: 'its agent dies before the grant', at: 'start grant', befall: endAgent },
  {
    name: 'its QEMU stands still as soon as it was launched',
    at: 'start launch',
    befall: (cluster, host) => whenLaunched(cluster, host, ({ process }) => process.freezeFor(FAULT_MS)),
  },
  {
    name: 'its agent stands still as soon as its QEMU was launched, and gives it up when it goes on',
    at: 'start launch',
    befall: (cluster, host) =>
      whenLaunched(cluster, host, () => present(host.agentProcess, 'agent').freezeFor(2 * ELSEWHERE_MS)),
  },
];

function vmOf({ truth }: SimCluster): VmRecord | undefined {
  return [...truth.tables.vm.values()][0];
}

function hostOf(cluster: SimCluster): HostName | null {
  const phase = vmOf(cluster)?.phase;
  return phase !== undefined && 'incarnation' in phase ? phase.incarnation.host : null;
}

function isRunning(cluster: SimCluster): boolean {
  const vm = vmOf(cluster);
  if (vm?.phase.kind !== 'running') return false;
  return cluster.qemuOf(vm.id, vm.phase.incarnation.generation)?.isLive === true;
}

/** A cluster with one VM that is about to start, and a fault at one step of the start. */
async function startingUnder(seed: number, { at, befall }: Misfortune) {
  const swarm = { ...calmSwarm(seed, 0), hostTroubles: { ...NO_HOST_TROUBLES } };
  const cluster = new SimCluster({ swarm, log: null, bug: null });
  const people = new People(cluster);
  assert.deepEqual(await begin(cluster, people, () => false), []);
  const befallen = Promise.withResolvers<{ readonly host: HostName; readonly atMs: number }>();
  let isOver = false;
  cluster.onCrashPoint = (_process, workflow, step) => {
    const host = hostOf(cluster);
    if (isOver || `${workflow} ${step}` !== at || host === null) return;
    isOver = true;
    befall(cluster, present(cluster.hosts.get(host), host));
    befallen.resolve({ host, atMs: cluster.now });
  };
  const context = present(
    [...cluster.controls.values()].map((node) => node.context).find((each) => each !== null),
    'a control node',
  );
  void people.create(context);
  await cluster.clock.run(cluster.now + 10_000, () => isOver);
  assert.ok(isOver, `no leader came to ${at}`);
  return { cluster, befallen: await befallen.promise };
}

for (const misfortune of AT_START) {
  test(`a VM that is started runs within ${ELSEWHERE_MS / 1_000} s, elsewhere, though ${misfortune.name}`, async () => {
    for (const seed of SEEDS) {
      const { cluster, befallen } = await startingUnder(seed, misfortune);
      await cluster.clock.run(
        befallen.atMs + ELSEWHERE_MS,
        () => isRunning(cluster) && hostOf(cluster) !== befallen.host,
      );
      assert.ok(isRunning(cluster), `seed ${seed}: ${JSON.stringify(vmOf(cluster)?.phase)}`);
      assert.notEqual(hostOf(cluster), befallen.host);
      const generation = vmOf(cluster)?.generation;
      await cluster.clock.run(cluster.now + LATER_MS);
      assert.deepEqual([isRunning(cluster), vmOf(cluster)?.generation], [true, generation], 'it stays there');
      assert.deepEqual(cluster.violations, []);
    }
  });
}

/** A VM that runs, in a cluster without faults. */
async function running(seed: number) {
  const cluster = new SimCluster({ swarm: calmSwarm(seed, 1), log: null, bug: null });
  const people = new People(cluster);
  assert.deepEqual(await begin(cluster, people, () => false), []);
  await cluster.clock.run(cluster.now + 10_000, () => isRunning(cluster));
  assert.ok(isRunning(cluster));
  return { cluster, people, vm: present(vmOf(cluster), 'vm') };
}

test(`the next run of a VM whose QEMU ended is elsewhere within ${ELSEWHERE_MS / 1_000} s, though the agent stands still at its launch`, async () => {
  for (const seed of SEEDS) {
    const { cluster, vm } = await running(seed);
    let host: HostName | null = null;
    cluster.onCrashPoint = (_process, workflow, step) => {
      if (host !== null || `${workflow} ${step}` !== 'recover launch') return;
      host = hostOf(cluster);
      freezeAgent(cluster, present(cluster.hosts.get(present(host, 'host')), 'host'));
    };
    present(cluster.qemuOf(vm.id, 1), 'QEMU').process.end();
    await cluster.clock.run(cluster.now + ELSEWHERE_MS, () => host !== null && isRunning(cluster));
    assert.ok(host !== null && isRunning(cluster), `seed ${seed}: ${JSON.stringify(vmOf(cluster)?.phase)}`);
    assert.notEqual(hostOf(cluster), host);
    assert.deepEqual(cluster.violations, []);
  }
});

const AT_MOVE: readonly (Omit<Misfortune, 'at'> & { readonly when: (entry: TraceEntry | string) => boolean })[] = [
  {
    name: 'the agent of its destination stands still at the launch',
    when: (entry) => entry === 'migrate launch',
    befall: freezeAgent,
  },
  {
    name: 'its destination stands still when it has received everything, and nobody hears that it has',
    when: (entry) => typeof entry !== 'string' && entry.kind === 'status' && entry.status === 'paused',
    befall: (cluster, host) => {
      cutControl(cluster, host);
      for (const { order, process } of host.qemus()) if (order.incoming) process.freezeFor(FAULT_MS);
    },
  },
];

for (const { name, when, befall } of AT_MOVE) {
  test(`a VM that is moved goes on within ${ELSEWHERE_MS / 1_000} s where it was, though ${name}`, async () => {
    for (const seed of SEEDS) {
      const { cluster, people, vm } = await running(seed);
      let isBefallen = false;
      const look = (entry: TraceEntry | string): void => {
        const phase = vmOf(cluster)?.phase;
        if (isBefallen || phase?.kind !== 'migrating' || !when(entry)) return;
        isBefallen = true;
        befall(cluster, present(cluster.hosts.get(phase.destination.host), 'destination'));
      };
      cluster.onEntry = look;
      cluster.onCrashPoint = (_process, workflow, step) => look(`${workflow} ${step}`);
      people.wishFor('migrate', vm.name, null);
      await cluster.clock.run(cluster.now + 10_000, () => isBefallen);
      assert.ok(isBefallen);
      await cluster.clock.run(cluster.now + ELSEWHERE_MS, () => isRunning(cluster));
      assert.ok(isRunning(cluster), `seed ${seed}: ${JSON.stringify(vmOf(cluster)?.phase)}`);
      assert.equal(hostOf(cluster), 'incarnation' in vm.phase ? vm.phase.incarnation.host : null);
      assert.deepEqual(cluster.violations, []);
    }
  });
}
