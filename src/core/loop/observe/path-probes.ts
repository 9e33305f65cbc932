/**
 * Attempts to reach machines over the paths of a control node. Guarantees: an attempt goes to the port at which nothing
 * ever listens, so that a live kernel answers whatever its processes do; a silent relay is no evidence about the
 * machine behind it.
 */
import { addressOn, type Path } from '../../model/paths.ts';
import { PORTS } from '../../model/ports.ts';
import type { Paths } from '../../ports/paths.ts';
import type { ProbeResult } from '../../ports/probe-result.ts';

/** The destination of an attempt, and how long it may take. */
export interface ProbeAttempt {
  readonly address: string;
  readonly port: number;
  readonly deadlineMs: number;
  /**
   * How long to wait for the relay, if the path has one: the relay's own deadline ends first, so that its answer can
   * report the outcome.
   */
  readonly relayDeadlineMs: number;
}

/** The network of a control node. */
export interface Prober {
  /** All paths that exist now. */
  list(): readonly Path[];
  /** Makes one TCP connection attempt from the path's relay, or from here. Rejects where the relay does not answer. */
  attempt(path: Path, attempt: ProbeAttempt): Promise<ProbeResult>;
}

/** The paths, and what else can be found out over them. */
export interface PathProbes extends Paths {
  /**
   * Whether a machine is at an address, by every path to that network: its kernel refuses or accepts a connection to a
   * port on which nothing listens. Null if no path exists, or no path works.
   */
  addressAnswers(network: Path['network'], address: string): Promise<boolean | null>;
}

/** The time that a relay gets beyond the attempt's own deadline, in ms. */
const RELAY_MS = 300;
/** Longer than one retransmission of a lost SYN, which TCP repeats after a second. */
const ANSWER_MS = 1_500;
const NO_PATH = { outcome: 'no-path', lateMs: 0 } as const;

/** The paths of a control node. */
export function pathProbes(prober: Prober): PathProbes {
  const attempt = async (path: Path, address: string, deadlineMs: number): ReturnType<Paths['probe']> => {
    try {
      const times = { deadlineMs, relayDeadlineMs: deadlineMs + RELAY_MS };
      return await prober.attempt(path, { address, port: PORTS.reachability, ...times });
    } catch {
      return NO_PATH;
    }
  };
  return {
    list: () => prober.list(),
    probe: async (path, host, deadlineMs) => {
      const standing = prober.list().find(({ name }) => name === path.name);
      return standing === undefined ? NO_PATH : attempt(standing, addressOn(standing, host.addresses), deadlineMs);
    },
    addressAnswers: async (network, address) => {
      const there = prober.list().filter((path) => path.network === network);
      const probes = await Promise.all(there.map((path) => attempt(path, address, ANSWER_MS)));
      const outcomes = probes.map(({ outcome }) => outcome);
      if (outcomes.some((outcome) => outcome === 'refused' || outcome === 'accepted')) return true;
      return outcomes.includes('silent') ? false : null;
    },
  };
}
