import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from './log.ts';

test('one line of JSON each; what is named like a secret is not in it', (t) => {
  const lines: string[] = [];
  t.mock.method(process.stdout, 'write', (line: string) => lines.push(line) > 0);
  const log = createLog({ component: 'control', name: 'c1' });
  log.info('begun', { vm: 'vm1', token: 'gp_api_secret', nested: { keyPem: 'PRIVATE', joinToken: 'x1' } });
  log.warn('two\nlines');
  t.mock.restoreAll();
  assert.equal(lines.length, 2);
  const [first, second] = lines.map((line) => JSON.parse(line));
  assert.deepEqual(
    { ...first, time: '' },
    {
      time: '',
      level: 'info',
      component: 'control',
      name: 'c1',
      message: 'begun',
      vm: 'vm1',
      token: '(not shown)',
      nested: { keyPem: '(not shown)', joinToken: '(not shown)' },
    },
  );
  assert.equal(second.level, 'warn');
  assert.ok(lines.every((line) => line.indexOf('\n') === line.length - 1));
});
