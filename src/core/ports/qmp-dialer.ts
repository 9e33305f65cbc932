/**
 * How a control node gets to a QEMU: single attempts, each over one path to one of its monitors, and the conversation
 * that one of them may begin. core/qmp decides when each attempt is made and what its outcome means.
 */
import type { QmpEvent } from '../../wire/qmp/codec.ts';
import type { Path } from '../model/paths.ts';
import type { QmpTarget } from './qmp-link.ts';

/** Runs one command of one QEMU; rejects with QmpError where QEMU refuses it. */
export type Execute = <T>(command: string, args?: object) => Promise<T>;

/** A negotiated conversation with one QEMU. Commands are carried out in the order in which they were given. */
export interface QmpChannel {
  /**
   * Executes one command. Rejects with QmpError where QEMU refuses it; with CodedError 'deadline' after `deadlineMs`,
   * or 'unavailable' when the conversation ends: then the outcome is unknown.
   */
  execute<T>(command: string, args: object | undefined, options: { readonly deadlineMs: number }): Promise<T>;
  /** Calls `listener` for every event until the returned function is called. The listener must not throw. */
  onEvent(listener: (event: QmpEvent) => void): () => void;
  /** Settles when the conversation has ended, on either side; never rejects. */
  readonly closed: Promise<unknown>;
  /** Ends the conversation at once. QEMU runs on. */
  close(): void;
}

/** The result of one attempt. */
export type Dialed =
  /** The process runs and speaks; its certificate is the incarnation's, and ends at a time (Unix ms; null: none). */
  | { readonly outcome: 'answers'; readonly channel: QmpChannel; readonly certificateEndsAt: number | null }
  | { readonly outcome: DialFailure };

/**
 *   refused              the host's kernel says that nobody listens: no such process
 *   accepted-but-silent  a kernel accepted for a process that does not speak: stopped, or its monitor serves another client
 *   silent               nothing came back: machine or network gone; also a monitor whose short queue is full
 *   unreachable          a router, or this machine itself, says that there is no way there
 *   rejected             somebody there ended the conversation, or is another incarnation
 *   no-path              the relay did not answer: the attempt says nothing about the host
 */
export type DialFailure = 'refused' | 'accepted-but-silent' | 'silent' | 'unreachable' | 'rejected' | 'no-path';

export interface DialOptions {
  /** The time in ms for everything until QEMU answers. */
  readonly deadlineMs: number;
  /** Called for every event of the conversation from the first on; must not throw. */
  readonly onEvent: (event: QmpEvent) => void;
}

export interface QmpDialer {
  /** All paths that exist now, in the order in which they are to be tried. */
  paths(): readonly Path[];
  /** Makes one attempt. `port`: of the host, one of the target's monitors. Never rejects. */
  dial(target: QmpTarget, by: { readonly path: Path; readonly port: number }, options: DialOptions): Promise<Dialed>;
}
