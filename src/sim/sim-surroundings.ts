/** What the simulated ports need of the world they are in. */
import type { HostName, StorageName } from '../base/ids.ts';
import type { SimClock } from './sim-clock.ts';
import type { SimHost } from './sim-hosts.ts';
import type { SimQemu } from './sim-qemu.ts';
import type { SimRandom } from './sim-random.ts';
import type { SimStorage } from './sim-storage.ts';
import type { Note, SimStore } from './sim-store.ts';

/** A QEMU and where it runs. */
export interface Placed {
  readonly host: SimHost;
  readonly qemu: SimQemu;
}

/** See SimWorld, which is one. */
export interface SimSurroundings {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly store: SimStore;
  readonly hosts: ReadonlyMap<HostName, SimHost>;
  readonly storage: ReadonlyMap<StorageName, SimStorage>;
  readonly note: Note;
  /** One line for the log. */
  say(text: string): void;
  /** A call from the leader to something that may be out of reach; its request or its reply may be lost. */
  call<T>(
    target: { readonly reached: () => boolean; readonly deadlineMs: number; readonly what: string },
    serve: () => T,
  ): Promise<T>;
  /** A QEMU reports an event; whoever leads hears it where a path leads there. */
  announce(host: SimHost, qemu: SimQemu): void;
  /** Sends a guest's memory from one QEMU to another, for as long as it takes. */
  beginStream(source: Placed, destination: Placed): void;
}
