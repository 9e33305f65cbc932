import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseControlName } from '../../base/ids.ts';
import { removeControl } from './control-removal.ts';
import { RecordWorld } from './testing/record-world.ts';
import { createJoinToken } from './tokens.ts';

const SHA = 'a'.repeat(64);

test('a control node that is removed is denied, and no token from before brings it back', () => {
  const name = parseControlName('c3');
  const world = new RecordWorld([{ kind: 'control', id: name, value: { name, address: '10.0.0.3', startedAt: 0 } }]);
  world.take(createJoinToken(world.basis(), { role: 'control', name, sha256: SHA }));
  world.take(createJoinToken(world.basis(), { role: 'control', also: ['host'], name, sha256: SHA }));
  world.take(createJoinToken(world.basis(), { role: 'control', name: 'c4', sha256: SHA }));
  for (const time of ['once', 'again']) {
    world.take(removeControl(world.basis(), { name, by: 'ann' }));
    const { controls, certificates, tokens } = world.basis().records;
    assert.deepEqual([controls.size, certificates.get('control:c3')?.value.removed?.by], [0, 'ann'], time);
    assert.deepEqual(
      [...tokens.values()].map((token) => [token.value.name, token.value.role]),
      [
        [name, 'host'],
        ['c4', 'control'],
      ],
      time,
    );
  }
  assert.deepEqual(world.unreadableRecords(), []);
});
