import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimClock } from '../../../sim/time/sim-clock.ts';
import { host, hostRecord, incarnation, node, VM } from '../../plan/testing/sample-records.ts';
import type { HostReport, RunningIncarnation } from '../../ports/host-link.ts';
import type { Paths } from '../../ports/paths.ts';
import { HostObserver } from './host-observer.ts';

const H1 = host(1);
const running = (pid: number): RunningIncarnation => ({
  ...incarnation(1),
  vm: VM,
  pid,
  startTicks: '1',
  incoming: false,
});
const report = (more: Partial<HostReport> = {}): HostReport => ({
  host: H1,
  bootId: 'a',
  agentVersion: '0',
  capacity: hostRecord(1).capacity,
  incarnations: [],
  networkRevision: 1,
  ...more,
});

/** An observer of h1; `answer`: the agent's answer now, null: none. */
function observed(probe: Paths['probe'] = async () => ({ outcome: 'silent', lateMs: 0 })) {
  const clock = new SimClock();
  const heard: string[] = [];
  const world: { answer: HostReport | null } = { answer: report() };
  const silence = (deadlineMs: number): Promise<never> =>
    new Promise((_, reject) => void clock.after(deadlineMs, () => reject(new Error('no answer'))));
  const unused = (): Promise<never> => Promise.reject(new Error('not asked for'));
  const observer = new HostObserver(
    {
      clock,
      hosts: {
        report: async (_host, { deadlineMs }) => world.answer ?? silence(deadlineMs),
        launch: unused,
        kill: unused,
        applyNetwork: unused,
        probe: unused,
      },
      paths: {
        list: () => [
          { name: 'direct', control: null, storage: null, network: 'control' },
          { name: 'via s1', control: null, storage: node(1), network: 'storage' },
        ],
        probe,
      },
    },
    {
      onReport: () => undefined,
      onState: (name) => heard.push(`state ${name}`),
      onProcesses: (vms) => heard.push(`processes ${[...vms].join()}`),
    },
  );
  observer.watch(hostRecord(1));
  return { clock, observer, world, heard };
}

test('who is told of a report: nobody where it says nothing new, only the VM whose process came or went, all at a boot', async () => {
  const { clock, observer, world, heard } = observed();
  assert.equal(observer.areAllAsked, false);
  await clock.run(1_000);
  assert.equal(observer.areAllAsked, true);
  assert.deepEqual(heard, ['state h1']);
  const first = observer.report(H1)?.report;
  const sentAt = observer.report(H1)?.sentAt ?? 0;
  world.answer = report();
  await clock.run(2_000);
  // A report that repeats the one before is not kept; that it came is.
  assert.equal(observer.report(H1)?.report, first);
  assert.ok((observer.report(H1)?.sentAt ?? 0) > sentAt);
  const count = observer.processesCount(H1);
  world.answer = report({ incarnations: [running(7)] });
  await clock.run(3_000);
  world.answer = report({ incarnations: [running(8)], networkRevision: 2 });
  await clock.run(4_000);
  assert.equal(observer.processesCount(H1), count + 2);
  assert.equal(observer.report(H1)?.report.networkRevision, 2);
  assert.equal(observer.processState(H1, VM, incarnation(1).generation, 0), 'present');
  world.answer = report({ bootId: 'b' });
  await clock.run(5_000);
  assert.equal(observer.processState(H1, VM, incarnation(1).generation, 0), 'absent');
  assert.deepEqual(heard, ['state h1', `processes ${VM}`, `processes ${VM}`, 'state h1']);
  observer.stop();
});

test('V1 a path that meets the kernel counts at once, while others still wait for an answer', async () => {
  let direct: 'silent' | 'refused' = 'silent';
  const { clock, observer, world } = observed(async (path, _record, deadlineMs) => {
    const outcome = path.storage === null ? direct : 'silent';
    await new Promise<void>((resolve) => void clock.after(outcome === 'silent' ? deadlineMs : 1, resolve));
    return { outcome, lateMs: 0 };
  });
  await clock.run(1_000);
  world.answer = null;
  await clock.run(4_000);
  const { kernel } = observer.see(H1);
  assert.equal(kernel.kind, 'silent');
  assert.equal(observer.mayBeGone(H1), true);
  assert.deepEqual(observer.hostsWithStorageCut(), [H1]);
  direct = 'refused';
  const probing = observer.probeNow(H1);
  await clock.run(4_010);
  assert.deepEqual([observer.see(H1).kernel.kind, observer.mayBeGone(H1)], ['reachable', false]);
  await clock.run(6_000);
  await probing;
  // The storage node's path met silence all the while.
  assert.deepEqual(observer.storageCutFrom(H1), [node(1)]);
  observer.stop();
  assert.deepEqual(observer.hostsWithStorageCut(), []);
});

test('V1 until the agent is silent nobody is told what the kernel does, nor in the middle of its second silence; then at every round', async () => {
  const { clock, observer, world, heard } = observed(async (_path, _record, deadlineMs) => {
    await new Promise<void>((resolve) => void clock.after(deadlineMs, resolve));
    return { outcome: 'silent', lateMs: 0 };
  });
  await clock.run(1_000);
  heard.length = 0;
  world.answer = null;
  // Asked at 1200: the first round ends at 1800, the agent has time until 2100, the second round ends at 2150.
  await clock.run(2_090);
  assert.deepEqual([observer.see(H1).agent, observer.see(H1).kernel.kind, heard.length], ['alive', 'silent', 0]);
  await clock.run(2_110);
  assert.deepEqual([observer.mayBeGone(H1), heard.length], [true, 0]);
  await clock.run(2_160);
  const { kernel } = observer.see(H1);
  assert.deepEqual([kernel.kind === 'silent' && kernel.rounds, heard.length], [2, 1]);
  await clock.run(3_500);
  assert.ok(heard.length > 1);
  observer.stop();
});
