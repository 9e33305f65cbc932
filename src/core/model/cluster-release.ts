/**
 * Releases of Groundplane in one cluster (docs/decisions/0020). A release is MAJOR.MINOR of a version. The cluster has
 * one, which only `gp cluster finalize` raises; machines run it or the one after it, side by side.
 */

/** The cluster's release as etcd keeps it. */
export interface ReleaseRecord {
  /** MAJOR.MINOR. */
  readonly release: string;
  /** Unix ms. */
  readonly since: number;
}

/** Returns MAJOR.MINOR of a version; null if the text is none. */
export function releaseOf(version: string): string | null {
  return /^(\d{1,5}\.\d{1,5})(\.\d|$)/.exec(version)?.[1] ?? null;
}

/** Whether `next` is the release after `release`: the next minor one, or the first of the next major one. */
export function follows(next: string, release: string): boolean {
  const [[major, minor], [before, minorBefore]] = [numbersOf(next), numbersOf(release)];
  return major === before ? minor === minorBefore + 1 : major === before + 1 && minor === 0;
}

/** Whether programs of release `own` may be part of a cluster of a given release. */
export function fits(own: string, cluster: string): boolean {
  return own === cluster || follows(own, cluster);
}

function numbersOf(release: string): readonly [number, number] {
  const [major = 0, minor = 0] = release.split('.').map(Number);
  return [major, minor];
}
