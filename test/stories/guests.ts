/**
 * Guests and their QEMUs as an outside observer sees them: the kernel's list of processes, and the serial logs.
 * Guarantees: a log is held open from the moment its incarnation is seen, so that writes which a guest acknowledged
 * before its host lost power are known although the host's memory is gone; a process is named by pid and start time.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { acknowledgedIn } from '../../src/images/sequence-check.ts';
import { isRunning, type ProcessIdentity, processIdentity } from '../../src/os/process-table.ts';

/** One QEMU, found by the marker in its arguments (src/agent/incarnations.ts). */
export interface SeenQemu {
  readonly vm: string;
  readonly generation: number;
  readonly slot: number;
  readonly process: ProcessIdentity;
}

const MARKER = /null,id=gp\.(vm-[0-9a-f]{12})\.g([1-9][0-9]*)\.s([0-9]+)\0/;
const LOG_FILE = /logfile=([^,\0]+)/;
const LOOK_EVERY_MS = 150;
/**
 * A process that has been something else for this long does not become a QEMU: what confines one takes a moment, on a
 * busy machine a second.
 */
const SETTLED_MS = 30_000;
const LOG_BYTES_MAX = 4 * 1024 * 1024;

interface OpenLog {
  readonly generation: number;
  readonly file: number;
  text: string;
  grewAtMs: number;
}

/** Every running QEMU of a cluster, on all hosts. */
export function runningQemus(): SeenQemu[] {
  return processIds().flatMap((pid) => qemuOf(pid)?.seen ?? []);
}

interface FoundQemu {
  readonly seen: SeenQemu;
  readonly logFile: string;
}

function processIds(): string[] {
  return readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
}

function qemuOf(pid: string): FoundQemu | undefined {
  const line = commandLine(pid);
  const marker = MARKER.exec(line);
  // Before QEMU itself there are programs that confine it, with the same arguments: QEMU is the one without them.
  if (marker === null || !/^[^\0]*qemu-system-[^\0]*\0/.test(line)) return undefined;
  const identity = processIdentity(Number(pid));
  if (identity === undefined || !isRunning(identity)) return undefined;
  const [, vm = '', generation, slot] = marker;
  const seen = { vm, generation: Number(generation), slot: Number(slot), process: identity };
  return { seen, logFile: LOG_FILE.exec(line)?.[1] ?? '' };
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** Follows the serial console of every incarnation from its first moment. `close` it. */
export class SerialLogs {
  readonly #logs = new Map<string, Map<string, OpenLog>>();
  /**
   * Processes that are no QEMU, by pid, and when each was first seen. Most of a machine's are, and reading them all
   * each time would cost a tenth of a processor.
   */
  #others = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  /** Opens what is new and reads what was added. */
  look(): void {
    const nowMs = performance.now();
    const others = new Map<string, number>();
    for (const pid of processIds()) {
      const since = this.#others.get(pid) ?? nowMs;
      const qemu = nowMs - since < SETTLED_MS ? qemuOf(pid) : undefined;
      if (qemu === undefined) others.set(pid, since);
      else this.#open(qemu.seen, qemu.logFile);
    }
    this.#others = others;
    for (const logs of this.#logs.values()) for (const log of logs.values()) readMore(log);
  }

  /** The consoles of a VM's incarnations, by generation. */
  of(vm: string): readonly { readonly generation: number; readonly text: string }[] {
    return [...(this.#logs.get(vm)?.values() ?? [])].sort((a, b) => a.generation - b.generation);
  }

  /** The highest sequence number that any incarnation of the VM acknowledged; 0 for none. */
  acknowledged(vm: string): number {
    const numbers = this.of(vm).flatMap(({ text }) =>
      acknowledgedIn(text.slice(-4_096)).map(({ sequence }) => sequence),
    );
    return Math.max(0, ...numbers);
  }

  /** For how long no console of the VM has printed anything, in ms. */
  silentMs(vm: string): number {
    const times = [...(this.#logs.get(vm)?.values() ?? [])].map(({ grewAtMs }) => grewAtMs);
    return performance.now() - Math.max(0, ...times);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const logs of this.#logs.values()) for (const { file } of logs.values()) closeSync(file);
    this.#logs.clear();
  }

  #open({ vm, generation, process: { pid, startTicks } }: SeenQemu, logFile: string): void {
    const logs = this.#logs.get(vm) ?? new Map<string, OpenLog>();
    this.#logs.set(vm, logs);
    const key = `${pid}/${startTicks}`;
    if (logs.has(key)) return;
    try {
      // Through the root of the process itself: its host's /run is on a file system that only the host sees.
      const file = openSync(`/proc/${pid}/root${logFile}`, 'r');
      logs.set(key, { generation, file, text: '', grewAtMs: performance.now() });
    } catch {
      // The file does not exist yet, or is gone already: the next look is the retry.
    }
  }
}

function readMore(log: OpenLog): void {
  const buffer = Buffer.alloc(64 * 1024);
  for (;;) {
    // The guest writes ASCII, so bytes are characters.
    const count = readSync(log.file, buffer, 0, buffer.length, log.text.length);
    if (count === 0) return;
    log.text += buffer.toString('latin1', 0, count);
    log.grewAtMs = performance.now();
    if (log.text.length > LOG_BYTES_MAX) throw new Error('A serial log is longer than a story can be.');
  }
}
