import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  IncarnationObservation,
  KernelObservation,
  MigrationTold,
  QmpObservation,
} from '../../model/observation.ts';
import { answers, incarnation, node, seenHost, silentKernel } from '../testing/sample-records.ts';
import { isSilentFor, type Judgement, judge, type Verdict } from './verdict.ts';

const REACHABLE: KernelObservation = { kind: 'reachable', via: 'via s1', ageMs: 5 };
const UNKNOWN: QmpObservation = { kind: 'unknown' };
const REFUSED: QmpObservation = { kind: 'refused', via: 'direct', ageMs: 5 };
const MUTE: QmpObservation = { kind: 'mute', via: 'direct', ageMs: 5 };
const SILENT: QmpObservation = { kind: 'silent', paths: ['direct', 'via s1'], ageMs: 5 };
const BOTH = [node(1), node(2)];

type Row = readonly [
  agent: 'alive' | 'silent' | 'unknown',
  process: IncarnationObservation['process'],
  qmp: QmpObservation,
  kernel: KernelObservation,
  verdict: Verdict,
  why: string,
];

/** docs/specs/protocol.md, section 5, row by row; the VM's disks are on s1 and s2. */
const TABLE: readonly Row[] = [
  ['alive', 'present', answers('running'), REACHABLE, 'running', 'agent alive, QMP answers'],
  [
    'silent',
    'unknown',
    answers('running'),
    REACHABLE,
    'running',
    'agent dead, QMP answers: agentless, nothing is restarted',
  ],
  ['silent', 'unknown', answers('running'), silentKernel(5, BOTH), 'running', 'QMP answers whatever the probes met'],
  ['unknown', 'unknown', answers('running'), { kind: 'unknown' }, 'running', 'a new leader believes QMP'],
  ['alive', 'absent', SILENT, REACHABLE, 'crashed', 'agent alive, process gone'],
  ['alive', 'absent', answers('running'), REACHABLE, 'crashed', 'the report is younger than the answer'],
  ['silent', 'unknown', REFUSED, REACHABLE, 'crashed', 'agent dead, kernel refuses the port'],
  ['alive', 'present', REFUSED, REACHABLE, 'unresponsive', 'refused while the agent still sees the process'],
  ['alive', 'present', SILENT, REACHABLE, 'unresponsive', 'a hung QEMU is not a lost one'],
  ['alive', 'present', MUTE, REACHABLE, 'unresponsive', 'accepts and does not speak'],
  ['alive', 'unknown', UNKNOWN, REACHABLE, 'unknown', 'not asked yet'],
  ['silent', 'unknown', SILENT, silentKernel(2, BOTH), 'lost', 'silent on every path, twice, from both storage nodes'],
  ['silent', 'unknown', UNKNOWN, silentKernel(2, BOTH), 'lost', 'the same, QMP never asked'],
  ['silent', 'unknown', SILENT, silentKernel(1, BOTH), 'unknown', 'one round is not enough'],
  ['silent', 'unknown', SILENT, silentKernel(9, [node(1)]), 'unknown', 'a storage node could not try'],
  ['silent', 'unknown', SILENT, silentKernel(9, []), 'unknown', 'only the control node tried'],
  ['silent', 'unknown', SILENT, REACHABLE, 'unresponsive', 'a storage node reaches its kernel'],
  ['silent', 'unknown', SILENT, { kind: 'unknown' }, 'unknown', 'nobody tried yet'],
  ['unknown', 'unknown', SILENT, silentKernel(9, BOTH), 'unknown', 'the agent was not asked yet'],
  ['alive', 'present', answers('paused'), REACHABLE, 'paused', 'paused'],
  ['alive', 'present', answers('constructor'), REACHABLE, 'unresponsive', 'a state that no QEMU has'],
  ['alive', 'present', answers('prelaunch'), REACHABLE, 'paused', 'launched and not continued'],
  ['alive', 'present', answers('inmigrate'), REACHABLE, 'incoming', 'waits for a stream'],
  ['alive', 'present', answers('postmigrate'), REACHABLE, 'moved-out', 'has sent everything'],
  ['alive', 'present', answers('io-error'), REACHABLE, 'disk-error', 'fenced or storage trouble'],
  ['alive', 'present', answers('shutdown'), REACHABLE, 'guest-shutdown', 'powered off from inside'],
  ['alive', 'present', answers('guest-panicked'), REACHABLE, 'panicked', 'panicked'],
  ['alive', 'present', answers('colo'), REACHABLE, 'unresponsive', 'a state this version does not know'],
];

for (const [agent, process, qmp, kernel, verdict, why] of TABLE) {
  const said = qmp.kind === 'answers' ? `"${qmp.status}"` : qmp.kind;
  test(`V1 verdict: agent ${agent}, process ${process}, QMP ${said}, kernel ${kernel.kind} → ${verdict} (${why})`, () => {
    const seen = { incarnation: incarnation(1), process, qmp, told: null, host: seenHost(1, { agent, kernel }) };
    const judgement = judge(seen, () => BOTH);
    assert.equal(judgement.verdict, verdict);
    assert.equal(judgement.agentless, agent === 'silent');
    assert.ok(judgement.because.length >= 2);
  });
}

test('V1 what a QEMU tells of its live migration counts while it was not asked since; that something arrived says not yet in which state', () => {
  const told = (what: MigrationTold, qmp: QmpObservation): Judgement => {
    const seen = { incarnation: incarnation(1), process: 'present', qmp, told: what, host: seenHost(1) } as const;
    return judge(seen, () => BOTH);
  };
  const left = { kind: 'left', sentTo: incarnation(2).generation, pausedMs: 40 } as const;
  for (const what of [{ kind: 'ending' }, left] as const) {
    assert.equal(told(what, { kind: 'unknown' }).verdict, 'moved-out');
    assert.equal(told(what, answers('running')).verdict, 'running');
  }
  assert.match(told(left, { kind: 'unknown' }).because.join(), /it has sent everything/);
  assert.equal(told({ kind: 'arrived' }, { kind: 'unknown' }).verdict, 'unknown');
});

test('a kernel counts as silent for a VM after enough rounds in which each node of its disks tried', () => {
  const silent = (rounds: number): KernelObservation => ({ kind: 'silent', rounds, paths: ['direct'], nodes: BOTH });
  assert.ok(isSilentFor(silent(2), BOTH));
  assert.ok(!isSilentFor(silent(1), BOTH));
  assert.ok(!isSilentFor(silent(2), [...BOTH, node(3)]));
  assert.ok(!isSilentFor(REACHABLE, []));
});

test('V1 a host that somebody declared lost, or that is no member, is lost whatever is observed', () => {
  const gone = 'h1 was declared lost by ann.';
  for (const qmp of [answers('running'), UNKNOWN, REFUSED, SILENT])
    for (const agent of ['alive', 'silent', 'unknown'] as const) {
      const host = seenHost(1, { agent, gone });
      const judgement = judge({ incarnation: incarnation(1), process: 'absent', qmp, told: null, host }, () => BOTH);
      assert.equal(judgement.verdict, 'lost');
      assert.equal(judgement.because.at(-1), gone);
    }
});
