/**
 * The agents inside guests (qemu-guest-agent), by whatever path leads to a guest's QEMU: the host's agent is not asked.
 *
 * Guarantees, whatever a guest sends: every call ends within its deadline and never rejects; one guest is asked one
 * thing at a time by a control node; what is answered has bounded size, and its texts steer no terminal.
 */
import type { QmpTarget } from './qmp-link.ts';

/** The result of a question. */
export type GuestAnswer<T> =
  | { readonly kind: 'answers'; readonly value: T }
  /** An agent exists, and does not do what was asked, or its answer is malformed. */
  | { readonly kind: 'refuses'; readonly why: string }
  /** No answer in time: there is no agent, the guest is busy or paused, or its QEMU cannot be reached. */
  | { readonly kind: 'silent'; readonly why: string };

/** A guest's own report: for people, and never to be relied on. Null: the guest does not say. */
export interface GuestFacts {
  /** For example: Debian GNU/Linux 12 (bookworm). */
  readonly os: string | null;
  readonly kernel: string | null;
  readonly hostname: string | null;
  readonly interfaces: readonly GuestInterface[];
}

export interface GuestInterface {
  readonly name: string;
  readonly mac: string | null;
  /** IPv4 and IPv6, with the length of their prefix. */
  readonly addresses: readonly string[];
}

/** The progress of a command in a guest. */
export type CommandOutcome =
  | { readonly exited: false }
  /** `exitCode`: null if a signal ended it. `output`: the end of what it printed, one line. */
  | { readonly exited: true; readonly exitCode: number | null; readonly output: string };

export interface GuestAgentLink {
  facts(target: QmpTarget): Promise<GuestAnswer<GuestFacts>>;
  /** Begins `/bin/sh -c COMMAND` in the guest, as its agent's user; answers the process's number there. */
  begin(target: QmpTarget, command: string): Promise<GuestAnswer<number>>;
  /** `pid`: from `begin`. The agent forgets a command once it has reported its end. */
  outcome(target: QmpTarget, pid: number): Promise<GuestAnswer<CommandOutcome>>;
}
