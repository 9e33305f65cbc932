import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmFigures } from '../../api/types.ts';
import { type Sample, withSample } from './figures.ts';

const figures = (seconds: number, more: Partial<VmFigures> = {}): VmFigures => ({
  ...{
    at: new Date(seconds * 1_000).toISOString(),
    host: 'h1',
    generation: 1,
    machineMissing: null,
    disksMissing: null,
  },
  machine: {
    ...{ cpuMs: seconds * 500, residentBytes: 2 ** 28 },
    nics: [{ mac: 'a', receivedBytes: 100 * seconds, sentBytes: 10 * seconds }],
  },
  disks: [
    { disk: 'disk-1', readBytes: 4_096 * seconds, writtenBytes: 0, reads: seconds, writes: 0 },
    { disk: null, readBytes: 4_096 * seconds, writtenBytes: 512 * seconds, reads: seconds, writes: seconds },
  ],
  ...more,
});

test('two answers make rates, summed over disks and cards', () => {
  assert.deepEqual(withSample([], figures(10), figures(12)), [
    {
      ...{ at: 12, processors: 0.5, residentBytes: 2 ** 28, readBytes: 8_192, writtenBytes: 512 },
      ...{ receivedBytes: 100, sentBytes: 10 },
    },
  ]);
  assert.deepEqual(withSample([], null, figures(12)), []);
});

test('a new generation counts from nothing; what a source does not say is not known', () => {
  assert.deepEqual(withSample([], figures(10, { generation: 1 }), figures(12, { generation: 2 })), []);
  const [sample] = withSample([], figures(10, { machine: null }), figures(12, { machine: null }));
  assert.deepEqual([sample?.processors, sample?.sentBytes, sample?.readBytes], [null, null, 8_192]);
  const back = figures(12, { disks: [] });
  assert.equal(withSample([], figures(10), back)[0]?.readBytes, null);
});

test('the oldest samples are forgotten', () => {
  let samples: readonly Sample[] = [];
  for (let at = 1; at < 400; at++) samples = withSample(samples, figures(at), figures(at + 1));
  assert.deepEqual([samples.length, samples[0]?.at, samples.at(-1)?.at], [300, 101, 400]);
});
