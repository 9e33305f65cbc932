import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeClock, judgeHosts, judgeName } from './machine-facts.ts';

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
