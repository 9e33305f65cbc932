/**
 * The software of a host's machine, as its agent reports it, and the consequences for guests that run there: QEMU takes
 * a running guest from the same or an older QEMU, never from a newer one. The agent's own version does not limit where
 * guests may go: an order that an older agent cannot carry out is refused by name (docs/decisions/0011).
 */

/** Versions as programs print them. */
export interface HostRelease {
  /** Groundplane's, of the agent. */
  readonly agent: string;
  /** QEMU's, of the one that a VM which starts now gets; null: never reported. */
  readonly qemu: string | null;
}

/** Whether a host runs the same software at two times; null: it was never reported. */
export function sameRelease(a: HostRelease | null, b: HostRelease | null): boolean {
  return a?.agent === b?.agent && a?.qemu === b?.qemu;
}

/**
 * Orders releases: a running guest goes to a host of the same or a larger number, and to one of which nothing is known.
 * 0: nothing is known.
 */
export function releaseNumber(release: HostRelease | null | undefined): number {
  const [, major, minor, micro] = /^(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?!\d)/.exec(release?.qemu ?? '') ?? [];
  if (major === undefined) return 0;
  return (Number(major) * 10_000 + Number(minor)) * 10_000 + Number(micro ?? 0);
}
