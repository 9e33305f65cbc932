/**
 * Computes rates from counters. Pure. Guarantees: at most SAMPLES_MAX samples are kept; between two generations, and if
 * a counter went back, there is no rate.
 */
import type { VmFigures } from '../../api/types.ts';

/** The use of resources between two answers, in units a second. Null: not known. */
export interface Sample {
  /** Unix seconds of the cluster's clock. */
  readonly at: number;
  /** Processors that were busy: 1.5 is one and a half. */
  readonly processors: number | null;
  readonly residentBytes: number | null;
  readonly readBytes: number | null;
  readonly writtenBytes: number | null;
  readonly receivedBytes: number | null;
  readonly sentBytes: number | null;
}

/** Ten minutes at one in two seconds. */
const SAMPLES_MAX = 300;

/** The samples with one more for what happened since `before`; those of an earlier time are forgotten. */
export function withSample(samples: readonly Sample[], before: VmFigures | null, now: VmFigures): readonly Sample[] {
  const sample = sampleOf(before, now);
  return sample === null ? samples : [...samples, sample].slice(-SAMPLES_MAX);
}

function sampleOf(before: VmFigures | null, now: VmFigures): Sample | null {
  if (before === null || before.generation !== now.generation) return null;
  const at = Date.parse(now.at) / 1_000;
  const seconds = at - Date.parse(before.at) / 1_000;
  if (seconds <= 0) return null;
  const rate = (was: number | null, is: number | null): number | null =>
    was === null || is === null || is < was ? null : (is - was) / seconds;
  const disks = (of: VmFigures, key: 'readBytes' | 'writtenBytes') => sumOf(of.disks, key);
  const nics = (of: VmFigures, key: 'receivedBytes' | 'sentBytes') => sumOf(of.machine?.nics ?? null, key);
  const busyMs = rate(before.machine?.cpuMs ?? null, now.machine?.cpuMs ?? null);
  return {
    at,
    processors: busyMs === null ? null : busyMs / 1_000,
    residentBytes: now.machine?.residentBytes ?? null,
    readBytes: rate(disks(before, 'readBytes'), disks(now, 'readBytes')),
    writtenBytes: rate(disks(before, 'writtenBytes'), disks(now, 'writtenBytes')),
    receivedBytes: rate(nics(before, 'receivedBytes'), nics(now, 'receivedBytes')),
    sentBytes: rate(nics(before, 'sentBytes'), nics(now, 'sentBytes')),
  };
}

function sumOf<Key extends string>(all: readonly Readonly<Record<Key, number>>[] | null, key: Key): number | null {
  return all === null ? null : all.reduce((sum, each) => sum + each[key], 0);
}
