import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseHostName } from '../../base/ids.ts';
import type { VmRecord } from '../../core/model/vm.ts';
import { hostRecord, incarnation, vmRecord } from '../../core/plan/testing/sample-records.ts';
import type { GuestFacts as Facts, GuestAnswer } from '../../core/ports/guest-agent-link.ts';
import { ManualClock } from '../../core/ports/testing/manual-clock.ts';
import { SILENT_GUESTS } from '../../core/ports/testing/silent-guests.ts';
import type { BackendContext } from './context.ts';
import { GuestFacts } from './guest-facts.ts';

const DEBIAN: Facts = {
  os: 'Debian GNU/Linux 12 (bookworm)',
  kernel: '6.1.0',
  hostname: 'web',
  interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', addresses: ['10.9.0.2/24'] }],
};

function running(generation: number): VmRecord {
  const record = vmRecord({ kind: 'running', incarnation: incarnation(generation, 1) });
  return { ...record, spec: { ...record.spec, guestAgent: true } };
}

/** A guest whose answers come when the test gives them. */
function looking(): {
  clock: ManualClock;
  facts: GuestFacts;
  asked: () => number;
  answer: (answer: GuestAnswer<Facts>) => void;
} {
  const clock = new ManualClock();
  const waiting: ((answer: GuestAnswer<Facts>) => void)[] = [];
  let asked = 0;
  const guestAgents = {
    ...SILENT_GUESTS,
    facts: () => {
      asked++;
      return new Promise<GuestAnswer<Facts>>((resolve) => waiting.push(resolve));
    },
  };
  const hosts = new Map([[parseHostName('h1'), { value: hostRecord(1), revision: 1 }]]);
  const store = { hosts } as unknown as BackendContext['store'];
  const answer = (given: GuestAnswer<Facts>): void => waiting.shift()?.(given);
  return { clock, facts: new GuestFacts({ clock, guestAgents, store }), asked: () => asked, answer };
}

test('a guest is asked once a minute, however many look; a new incarnation is asked anew', async () => {
  const { clock, facts, asked, answer } = looking();
  const both = [facts.of(running(1)), facts.of(running(1))];
  answer({ kind: 'answers', value: DEBIAN });
  const [first, second] = await Promise.all(both);
  assert.deepEqual([first?.agent, first?.os, first?.interfaces], ['answers', DEBIAN.os, DEBIAN.interfaces]);
  assert.deepEqual(second, first);
  await clock.advance(60_000);
  assert.deepEqual(await facts.of(running(1)), first);
  assert.equal(asked(), 1);
  await clock.advance(1);
  const again = facts.of(running(1));
  answer({ kind: 'answers', value: { ...DEBIAN, hostname: 'web2' } });
  assert.equal((await again).hostname, 'web2');
  const moved = facts.of(running(2));
  answer({ kind: 'answers', value: DEBIAN });
  await moved;
  assert.equal(asked(), 3);
});

test('nobody waits for long, and a guest that is silent is asked again after ten seconds', async () => {
  const { clock, facts, asked, answer } = looking();
  const early = facts.of(running(1));
  await clock.advance(2_500);
  assert.deepEqual([(await early).agent, (await early).because], ['silent', 'It has not answered yet.']);
  answer({ kind: 'silent', why: 'No end of its answer.' });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await facts.of(running(1))).because, 'No end of its answer.');
  assert.equal(asked(), 1);
  await clock.advance(10_000);
  const later = facts.of(running(1));
  answer({ kind: 'refuses', why: 'Nothing is said.' });
  assert.equal((await later).agent, 'refuses');
  assert.equal(asked(), 2);
});

test('a VM that does not run, or has no port for an agent, is not asked', async () => {
  const { facts, asked } = looking();
  assert.equal((await facts.of(vmRecord({ kind: 'stopped' }))).agent, 'not-running');
  assert.equal((await facts.of(vmRecord({ kind: 'running', incarnation: incarnation(1, 1) }))).agent, 'no-port');
  assert.equal(asked(), 0);
});
