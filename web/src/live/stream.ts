/**
 * The one event stream of a browser. Guarantees: it continues after the last revision that it delivered; a connection
 * that is silent for longer than SILENCE_MS counts as lost; changes that the server no longer keeps lead to
 * `list-again`; a session that ended stops the attempts until `retry`.
 */
import { readEvents } from '../../../src/client/server-events.ts';
import type { Change } from './collection.ts';
import type { FromWorker, LiveState } from './protocol.ts';

/** More than two heartbeats of the server (HEARTBEAT_MS of src/control/api/server.ts). */
const SILENCE_MS = 1_900;
const CONNECT_MS = 5_000;
const RETRY_MS = 500;
/** Changes are passed on together: a page draws at most so often. */
const BATCH_MS = 50;

/** The surroundings that the stream needs. */
export interface StreamPorts {
  readonly fetch: (path: string, init: RequestInit) => Promise<Response>;
  readonly tell: (message: FromWorker) => void;
}

/** See the module's comment. */
export class LiveStream {
  readonly #ports: StreamPorts;
  #state: LiveState = 'connecting';
  #version: string | null = null;
  #revision: string | null = null;
  #waiting: Change[] = [];
  #batch: ReturnType<typeof setTimeout> | null = null;
  #wake: () => void = () => undefined;

  constructor(ports: StreamPorts) {
    this.#ports = ports;
  }

  /** The state that a page needs when it connects later. */
  get state(): FromWorker {
    return { type: 'state', state: this.#state, version: this.#version };
  }

  /** Tries again at once, also after the session ended. */
  retry(): void {
    this.#wake();
  }

  /** Holds the stream; never ends. */
  async run(): Promise<never> {
    for (;;) {
      const outcome = await this.#attempt();
      this.#flush();
      this.#become(outcome);
      await this.#pause(outcome === 'logged-out' ? null : RETRY_MS);
    }
  }

  /** One connection, until it ends. */
  async #attempt(): Promise<'lost' | 'logged-out'> {
    const ending = new AbortController();
    let timer = setTimeout(() => ending.abort(), CONNECT_MS);
    const heard = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(), SILENCE_MS);
    };
    try {
      const headers: HeadersInit = this.#revision === null ? {} : { 'last-event-id': this.#revision };
      const response = await this.#ports.fetch('/v1/watch', { headers, signal: ending.signal });
      if (response.status === 401) return 'logged-out';
      if (response.status === 409) this.#forget();
      if (!response.ok || response.body === null) return 'lost';
      this.#version = response.headers.get('groundplane-build') ?? this.#version;
      this.#become('live');
      for await (const event of readEvents(hearing(response.body, heard))) {
        if (event.name === 'problem') return this.#problem(JSON.parse(event.data));
        this.#take(JSON.parse(event.data) as Change);
      }
    } catch {
      // A connection that cannot be made, breaks, or is silent for too long: it is made again.
    } finally {
      clearTimeout(timer);
      ending.abort();
    }
    return 'lost';
  }

  #problem(problem: { readonly code?: string }): 'lost' | 'logged-out' {
    if (problem.code === 'unauthorized') return 'logged-out';
    if (problem.code === 'conflict') this.#forget();
    return 'lost';
  }

  /** The changes after the last revision are gone: everything is read anew. */
  #forget(): void {
    this.#revision = null;
    this.#ports.tell({ type: 'list-again' });
  }

  #take(change: Change): void {
    this.#revision = change.revision;
    this.#waiting.push(change);
    this.#batch ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  #flush(): void {
    if (this.#batch !== null) clearTimeout(this.#batch);
    this.#batch = null;
    if (this.#waiting.length === 0) return;
    this.#ports.tell({ type: 'changes', changes: this.#waiting });
    this.#waiting = [];
  }

  #become(state: LiveState): void {
    if (state === this.#state) return;
    const wasLost = this.#state !== 'connecting' && state === 'live' && this.#revision === null;
    this.#state = state;
    this.#ports.tell(this.state);
    // Without a revision to continue from, it is unknown which changes were missed.
    if (wasLost) this.#ports.tell({ type: 'list-again' });
  }

  /** Waits until the time is over or somebody asks for an attempt. */
  async #pause(ms: number | null): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (ms !== null) setTimeout(resolve, ms);
    });
  }
}

async function* hearing(body: ReadableStream<Uint8Array>, heard: () => void): AsyncGenerator<Uint8Array> {
  heard();
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    heard();
    yield chunk;
  }
}
