import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tunnelsOfLost, withJoined, withRemoved } from './certificate.ts';

const NOW = 1_000;
const issued = (serial: string) => ({ serial, notBefore: 0, notAfter: 10_000, authority: 'a' });
const join = (before: Parameters<typeof withJoined>[0], serial: string) =>
  withJoined(before, 'host:h1', { issued: issued(serial), now: NOW });

test('a machine that joins again denies what was issued before, and not its own certificate when it is decided again', () => {
  const first = join(undefined, '1');
  assert.deepEqual(join(first, '1'), first);
  const second = join(first, '2');
  assert.deepEqual([second.issued, second.denied], [[issued('2')], [issued('1')]]);
});

test('the tunnel of a host that was declared lost is known until a machine joins by its name', () => {
  const joined = join(undefined, '1');
  const lost = withRemoved(joined, 'host:h1', { by: 'ann', tunnel: '10.2.0.1', now: NOW });
  assert.deepEqual(lost.denied, [issued('1')]);
  const emptied = withRemoved(joined, 'host:h2', { by: 'ann', tunnel: null, now: NOW });
  assert.deepEqual([...tunnelsOfLost([lost, emptied])], ['10.2.0.1']);
  assert.deepEqual([...tunnelsOfLost([join(lost, '2')])], []);
});
