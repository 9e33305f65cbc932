/**
 * The parts of a story's recorded log that are compared, in the simulator and on real machines, and the simulator's
 * stand-ins for real processes. A story that is not named here must record its golden log to the letter.
 */
import { own } from '../base/own.ts';

/** Stand-ins for things that only real processes have. */
export const STAND_INS = [
  'gp: one transaction through the control node that answers and a wait for its task; admission of images and ranges is not played',
  'console VM answers: its guest computes, and some way from the leader to its QEMU works',
  'guest VM from OTHER: the incarnations that the overlay plans in force on both hosts let through',
  'sequence VM undisturbed: none of its QEMUs was ever paused by a disk error, which is more than a guest can see',
  'gp lab wipe-host: the agent loses its identity and joins again, without tokens and certificates; files of what runs stay on its tmpfs',
] as const;

export interface Difference {
  readonly why: string;
  /** The parts of a recorded log that are compared with the golden one. */
  readonly compared: (log: string) => string;
}

const withoutHosts = (log: string): string => log.replace(/^(\S+ {2}\S+ {2})[A-Z] {2}/gm, '$1*  ');

/** By story. */
export const DIFFERENCES: Readonly<Record<string, Difference>> = {
  '09a-crash-while-starting': {
    why: 'a new leader starts a VM on the first host that answers: which one that is is its affair, so hosts are not compared',
    compared: withoutHosts,
  },
};

/** The compared parts of a story's log. */
export function comparedOf(story: string, log: string): string {
  return own(DIFFERENCES, story)?.compared(log) ?? log;
}
