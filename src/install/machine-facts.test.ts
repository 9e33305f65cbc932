import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  judgeClock,
  judgeHealth,
  judgeHosts,
  judgeName,
  judgePrograms,
  judgeQemus,
  judgeVersions,
} from './machine-facts.ts';

test('localhost must be named in /etc/hosts, by 127.0.0.1 and as a whole word', () => {
  for (const text of ['127.0.0.1 localhost\n', '::1 ip6\n127.0.0.1\tm1.example m1 localhost', '127.0.0.1 localhost m1'])
    assert.equal(judgeHosts(text).level, 'ok', text);
  for (const text of ['', '# 127.0.0.1 localhost', '::1 localhost', '127.0.0.1 localhost2', '127.0.1.1 localhost'])
    assert.equal(judgeHosts(text).level, 'bad', text);
});

test('a clock is wrong only when that is certain', () => {
  const level = (offsetMs: number, errorMs = 0): string => judgeClock('m2', { offsetMs, errorMs }).level;
  assert.deepEqual([level(0), level(-30_000), level(30_500, 1_000), level(30_500)], ['ok', 'ok', 'ok', 'warning']);
  assert.deepEqual(
    [level(600_000), level(600_001), level(-700_000), level(700_000, 200_000)],
    [...['warning', 'bad', 'bad', 'warning']],
  );
  assert.match(judgeClock('m2', { offsetMs: -700_000, errorMs: 0 }).found, /m2 is 700 s behind/);
});

test('a machine is named as the cluster names it', () => {
  assert.deepEqual(
    ['m1', 'm1.example.org', 'debian', 'm10'].map((hostname) => judgeName('m1', hostname).level),
    ['ok', 'ok', 'warning', 'warning'],
  );
});

test('a service that runs another version than the installed one is named, and a release that does not fit is bad', () => {
  const running = (version: string | null) => [{ service: 'groundplane-agent', version }];
  const judge = (installed: string, version: string | null, cluster: string | null) =>
    judgeVersions({ installed, running: running(version), cluster });
  assert.deepEqual(judge('0.2.0', '0.2.0', '0.2'), { level: 'ok', found: '0.2.0; the cluster has release 0.2' });
  assert.match(judge('0.2.0', '0.2.0', '0.1').advice ?? '', /gp cluster finalize/);
  assert.equal(judge('0.2.0', '0.2.0', null).level, 'ok');
  const old = judge('0.2.0', '0.1.9', '0.1');
  assert.equal(old.level, 'warning');
  assert.match(`${old.found} ${old.advice}`, /groundplane-agent runs 0\.1\.9.*systemctl restart groundplane-agent/);
  assert.equal(judge('0.2.0', null, '0.1').level, 'warning');
  assert.equal(judge('0.3.0', '0.3.0', '0.1').level, 'bad');
  assert.equal(judge('0.1.0', '0.1.0', '0.2').level, 'bad');
});

test('programs are judged by what they print', () => {
  const qemu = { program: 'qemu-system-x86_64', from: [7, 2] } as const;
  const etcd = { program: 'etcd', from: [3, 4], below: [3, 6] } as const;
  const level = (wanted: typeof qemu | typeof etcd, text: string | null) => judgePrograms([{ wanted, text }]).level;
  assert.equal(level(qemu, 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u17)\nCopyright'), 'ok');
  assert.equal(level(qemu, 'QEMU emulator version 10.0.2'), 'ok');
  assert.equal(level(qemu, 'QEMU emulator version 6.9.1'), 'bad');
  assert.equal(level(etcd, 'etcd Version: 3.4.23\nGit SHA: Not provided'), 'ok');
  assert.equal(level(etcd, 'etcd Version: 3.6.0'), 'bad');
  assert.equal(level(etcd, 'hello'), 'bad');
  assert.match(judgePrograms([{ wanted: etcd, text: null }]).found, /etcd is missing \(wanted: 3\.4 or newer, older/);
});

test('QEMUs from before an upgrade are told, and are no fault', () => {
  assert.deepEqual(judgeQemus({ running: 3, replaced: 0 }), { level: 'ok', found: '3 run' });
  assert.match(judgeQemus({ running: 3, replaced: 1 }).found, /^3 run, 1 VM on a QEMU from before an upgrade$/);
});

test('a control node that waits, or knows of no leader, is bad', () => {
  const health = { name: 'c1', leader: 'c2', waitingFor: null, version: '0.1.0', release: '0.1' };
  assert.equal(judgeHealth('10.0.0.1', health).level, 'ok');
  assert.equal(judgeHealth('10.0.0.1', { ...health, leader: null }).level, 'bad');
  const out = judgeHealth('10.0.0.1', { ...health, waitingFor: 'a new join: it was removed.' });
  assert.deepEqual([out.level, out.found], ['bad', 'c1 at 10.0.0.1 waits for a new join: it was removed.']);
});
