import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStorageName } from '../../../base/ids.ts';
import { DIRECT, pathsFrom } from '../../model/paths.ts';
import { PORTS } from '../../model/ports.ts';
import { hostRecord } from '../../plan/testing/sample-records.ts';
import type { ProbeResult } from '../../ports/probe-result.ts';
import { type PathProbes, pathProbes } from './path-probes.ts';

const HOST = hostRecord(1);
const PATHS = pathsFrom({ self: 'c1', controls: ['c1', 'c2'], storage: [parseStorageName('s1')] });

/** Probes whose attempts have the given results by path; a path that is not named has a relay that does not answer. */
function probes(met: Readonly<Record<string, ProbeResult['outcome']>>): PathProbes & { readonly attempts: string[] } {
  const attempts: string[] = [];
  const found = pathProbes({
    list: () => PATHS,
    attempt: async ({ name }, { address, port, deadlineMs, relayDeadlineMs }) => {
      attempts.push(`${name} ${address}:${port} ${deadlineMs} ${relayDeadlineMs}`);
      const outcome = Object.hasOwn(met, name) ? met[name] : undefined;
      if (outcome === undefined) throw new Error('the relay does not answer');
      return { outcome, lateMs: 0 };
    },
  });
  return { ...found, attempts };
}

test('paths: directly, through the other control nodes, through each storage node, each to its own network', () => {
  const texts = PATHS.map(({ name, control, storage, network }) => `${name} ${control} ${storage} ${network}`);
  assert.deepEqual(texts, ['direct null null control', 'via c2 c2 null control', 'via s1 null s1 storage']);
});

test('an attempt goes to the address on the network of its path, and a relay gets longer than its own deadline', async () => {
  const found = probes({ direct: 'refused', 'via s1': 'silent' });
  const [direct, , storage] = PATHS;
  assert.ok(direct !== undefined && storage !== undefined);
  assert.equal((await found.probe(direct, HOST, 500)).outcome, 'refused');
  assert.equal((await found.probe(storage, HOST, 500)).outcome, 'silent');
  const { control, storage: at } = HOST.addresses;
  const expected = [`direct ${control}:${PORTS.reachability} 500 800`, `via s1 ${at}:${PORTS.reachability} 500 800`];
  assert.deepEqual(found.attempts, expected);
});

test('a relay that does not answer, and a path that is gone, say nothing about the host', async () => {
  const found = probes({});
  assert.equal((await found.probe(DIRECT, HOST, 500)).outcome, 'no-path');
  assert.equal(found.attempts.length, 1);
  const gone = { ...DIRECT, name: 'via s9', storage: parseStorageName('s9') };
  assert.equal((await found.probe(gone, HOST, 500)).outcome, 'no-path');
  assert.equal(found.attempts.length, 1);
});

test('a machine is at an address where any path meets a kernel; nobody knows where no path works', async () => {
  for (const [met, expected] of [
    [{ direct: 'silent', 'via c2': 'refused' }, true],
    [{ direct: 'accepted' }, true],
    [{ direct: 'silent' }, false],
    [{ direct: 'void' }, null],
    [{}, null],
  ] as const)
    assert.equal(await probes(met).addressAnswers('control', '10.0.0.1'), expected);
  assert.equal(await probes({ direct: 'refused', 'via s1': 'silent' }).addressAnswers('storage', '10.1.0.1'), false);
});
