/**
 * The caller of a request to the API, its circumstances, and what crosses between its routes and its backend besides
 * views.
 */
import type { Readable } from 'node:stream';
import type { Session } from '../../api/access-views.ts';
import type { ArtifactKind, EventFilter } from '../../api/requests.ts';
import type { WatchKind } from '../../api/views.ts';

/** The caller of a request. */
export interface Principal {
  /** Name of the API token, also of one from which a session comes. */
  readonly name: string;
  /** SHA-256 of the token or session; absent if no proof was needed. */
  readonly sha256?: string;
  /** It may be handed backups of the cluster's records. Absent: it may not. */
  readonly mayBackUp?: boolean;
  /** The browser's session; null: an API token itself. */
  readonly session?: { readonly id: string; readonly expiresAt: number } | null;
}

/** The circumstances of one request. */
export interface Call {
  readonly principal: Principal;
  /** Aborts when the client went away, the request's deadline passed or the server closes. */
  readonly signal: AbortSignal;
}

/** A change that holds only if the object is still at `ifMatch` (else `stale-revision`); null: unconditional. */
export interface Conditional {
  readonly ifMatch: string | null;
}

/** The location of the leader: this process, another control node, or (null) unknown at present. */
export type Leader =
  | { readonly self: true; readonly name: string }
  /** `origin`: https://address:port of its API. */
  | { readonly self: false; readonly name: string; readonly origin: string };

/** One family of samples for /metrics. */
export interface MetricFamily {
  /** `groundplane_…`, by the Prometheus naming rules. */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly samples: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

export interface ArtifactUpload {
  /** The content's hash: what arrives with another hash or size is refused (`bad-input`) and leaves nothing behind. */
  readonly sha256: string;
  readonly kind: ArtifactKind;
  readonly sizeBytes: number;
  /** Bytes that the image needs in a pool without its zeroes, at most `sizeBytes`. */
  readonly dataBytes: number;
  /** Exactly `sizeBytes` bytes, or an error. */
  readonly body: Readable;
}

export interface WatchOptions {
  /** Changes after this revision; null: from now. A compacted revision throws `conflict`. */
  readonly after: string | null;
  /** Empty: every kind. */
  readonly kinds: readonly WatchKind[];
  /**
   * Filter of events; null matches all. With `since`, and `after` null, the kept events from that time on come first.
   */
  readonly filter: EventFilter | null;
}

/** A session that was begun. */
export interface BegunSession {
  /** The value of the browser's cookie; it is kept nowhere else. */
  readonly cookie: string;
  readonly session: Session;
}

/** One HTTP request that reached a follower. */
export interface ForwardRequest {
  readonly method: string;
  /** Path and query, as received. */
  readonly path: string;
  /**
   * Lower-case names; hop-by-hop headers and `host` are left out, `authorization` is kept: the leader authenticates
   * again.
   */
  readonly headers: Readonly<Record<string, string>>;
  /** Null if the request has no body. */
  readonly body: Readable | null;
}

export interface ForwardResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
}

/**
 * Carries a request to the leader at `origin` and its answer back, both as streams (server-sent events included).
 * Throws `unavailable` where the leader cannot be reached. Requests forwarded once are never forwarded again.
 */
export type Forward = (origin: string, request: ForwardRequest, signal: AbortSignal) => Promise<ForwardResponse>;
