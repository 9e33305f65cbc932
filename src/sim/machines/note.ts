/** How the parts of a simulated world tell what happens: for the checkers (core/check). */
import type { TraceEntry } from '../../core/check/trace.ts';

/** An entry of the trace without its time. */
export type Note = (entry: TraceEntry extends infer E ? (E extends unknown ? Omit<E, 'at'> : never) : never) => void;
