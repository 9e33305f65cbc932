import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmRecord } from '../../model/vm.ts';
import { hostRecord, incarnation, memberRecord } from '../../plan/testing/sample-records.ts';
import type { Readiness } from '../../plan/vm/decision.ts';
import type { CommandOutcome, GuestAgentLink, GuestAnswer } from '../../ports/guest-agent-link.ts';
import { ManualClock } from '../../ports/testing/manual-clock.ts';
import { ReadyChecks } from './ready-checks.ts';

const CHECK = { command: 'pg_isready', withinMs: 60_000 };
const SILENT = { kind: 'silent', why: 'no answer' } as const;

function member(generation: number, more: Partial<VmRecord> = {}): VmRecord {
  const record = memberRecord(1, { kind: 'running', incarnation: incarnation(generation, 1) });
  const spec = { ...record.spec, guestAgent: true as const };
  return { ...record, spec, settling: { registered: [] }, ...more };
}

/** A guest whose agent gives the listed answers one after the other. */
class Guest implements GuestAgentLink {
  readonly clock = new ManualClock();
  readonly said: string[] = [];
  readonly answers: GuestAnswer<unknown>[] = [];
  news = 0;
  readonly checks = new ReadyChecks({
    clock: this.clock,
    guestAgents: this,
    target: (vm, { generation, slot, host }) => ({
      ...{ vm: vm.id, generation, slot, host },
      addresses: hostRecord(1).addresses,
    }),
    onNews: () => this.news++,
  });

  async facts(): Promise<never> {
    throw new Error('nobody asks for facts');
  }

  async begin(_target: unknown, command: string): Promise<GuestAnswer<number>> {
    this.said.push(`begin ${command}`);
    return (this.answers.shift() ?? SILENT) as GuestAnswer<number>;
  }

  async outcome(_target: unknown, pid: number): Promise<GuestAnswer<CommandOutcome>> {
    this.said.push(`outcome ${pid}`);
    return (this.answers.shift() ?? SILENT) as GuestAnswer<CommandOutcome>;
  }

  /** The knowledge after each of its next answers. */
  async after(vm: VmRecord, ...answers: readonly GuestAnswer<unknown>[]): Promise<readonly Readiness[]> {
    const known: Readiness[] = [];
    this.answers.push(...answers);
    for (const _ of answers) {
      if (known.length > 0) await this.clock.advance(1_000);
      this.checks.follow(vm, CHECK);
      await new Promise((resolve) => setImmediate(resolve));
      known.push(this.checks.of(vm));
    }
    return known;
  }
}

const begun = (pid: number): GuestAnswer<number> => ({ kind: 'answers', value: pid });
const ended = (exitCode: number, output = ''): GuestAnswer<CommandOutcome> => ({
  kind: 'answers',
  value: { exited: true, exitCode, output },
});
const runs: GuestAnswer<CommandOutcome> = { kind: 'answers', value: { exited: false } };

test('a check runs until it succeeds, once at a time, and not any more afterwards', async () => {
  const guest = new Guest();
  const vm = member(2);
  assert.deepEqual(guest.checks.of(vm), { kind: 'unasked' });
  const known = await guest.after(vm, begun(7), runs, ended(1, 'no response'), begun(8), ended(0));
  assert.deepEqual(known, [
    { kind: 'not-ready', why: 'has begun' },
    { kind: 'not-ready', why: 'still runs' },
    { kind: 'not-ready', why: 'exited with 1: no response' },
    { kind: 'not-ready', why: 'has begun' },
    { kind: 'ready' },
  ]);
  assert.equal(guest.news, 5);
  await guest.clock.advance(10_000);
  assert.deepEqual(guest.said, ['begin pg_isready', 'outcome 7', 'outcome 7', 'begin pg_isready', 'outcome 8']);
});

test('a guest whose agent never answered is silent for a time; one that answered once is not ready', async () => {
  const guest = new Guest();
  const vm = member(2);
  const [first, second, third, fourth] = await guest.after(vm, SILENT, SILENT, begun(7), SILENT);
  assert.deepEqual(
    [first, second],
    [
      { kind: 'silent', forMs: 0 },
      { kind: 'silent', forMs: 1_000 },
    ],
  );
  assert.deepEqual(third, { kind: 'not-ready', why: 'has begun' });
  assert.deepEqual(fourth, { kind: 'not-ready', why: 'was not run: no answer' });
  const forbids = { kind: 'refuses', why: 'guest-exec is disabled' } as const;
  assert.deepEqual(await new Guest().after(vm, forbids), [
    { kind: 'not-ready', why: 'was not run: guest-exec is disabled' },
  ]);
});

test('a new incarnation, another command and a new agent begin anew; nothing is asked once nothing is awaited', async () => {
  const guest = new Guest();
  await guest.after(member(2), begun(7));
  assert.deepEqual(
    await guest.after(member(3), begun(9), { kind: 'refuses', why: 'PID 9 does not exist' }, begun(10)),
    [
      { kind: 'not-ready', why: 'has begun' },
      { kind: 'not-ready', why: 'was not run: PID 9 does not exist' },
      { kind: 'not-ready', why: 'has begun' },
    ],
  );
  const { settling: _, ...well } = member(3);
  guest.checks.follow(well, CHECK);
  const asked = guest.said.length;
  await guest.clock.advance(10_000);
  assert.equal(guest.said.length, asked);
  assert.deepEqual(guest.checks.of(well), { kind: 'unasked' });
});

test('a machine without a port for an agent is not asked', async () => {
  const guest = new Guest();
  const { guestAgent: _, ...spec } = member(2).spec;
  guest.checks.follow(member(2, { spec }), CHECK);
  assert.deepEqual(guest.checks.of(member(2)), { kind: 'silent', forMs: Infinity });
  await guest.clock.advance(10_000);
  assert.deepEqual(guest.said, []);
});
