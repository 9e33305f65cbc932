/**
 * Files that images are made of, each on every storage node that answered when it was sent.
 *
 * Guarantees: a file that an image, a VM or a disk names is never deleted; one that nothing names is, when it was last wanted ten minutes
 * ago; between `demand` and the image that is recorded because of it nothing is deleted. Times and uploads are those of one reign: what
 * another leader did in between is not known.
 */
import { PassThrough, Readable } from 'node:stream';
import type { Artifact } from '../../api/views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { parseSha256, type Sha256, type StorageName } from '../../base/ids.ts';
import type { ImageRecord } from '../../core/model/cluster.ts';
import { PREFIX } from '../../core/model/keys.ts';
import { unreadableUser } from '../../core/plan/vm/unreadable.ts';
import type { ArtifactInfo, StorageReport } from '../../core/ports/storage-link.ts';
import type { StoredFile } from '../../core/request/images.ts';
import type { ArtifactUpload, Call } from '../api/backend.ts';
import type { Seed } from './cloud-init.ts';
import type { BackendContext } from './context.ts';
import type { Kept } from './image-keeper.ts';
import { feed, peek } from './upload-feed.ts';

const MIB = 1024 ** 2;
/** An upload or a copy ends when it moves for longer than this. */
const TRANSFER_MS_MAX = 3_600_000;
const DELETE_MS = 10_000;
const OPEN_MS = 10_000;
/** Deadline for storing a seed, in ms; a seed has at most one MiB. */
const SEED_MS = 10_000;
const COPY_AGAIN_MS = 600_000;
/** Uploads remembered for the image that will name them. */
const UPLOADS_MAX = 256;
/** How long a file stays that nothing names: its image may be about to be recorded. */
const UNNAMED_MS_MAX = 600_000;
/** Files deleted in one round of the sweep. */
const DELETIONS_AT_ONCE = 50;
const QCOW2_MAGIC = Buffer.from('QFI\xfb', 'latin1');

interface Uploaded extends StoredFile {
  /** Who kept it when it was uploaded. */
  readonly nodes: readonly StorageName[];
}

/** Of one control node; only while it leads is anything known. */
export class Artifacts {
  readonly #context: BackendContext;
  readonly #nowMs: () => number;
  readonly #uploads = new Map<Sha256, Uploaded>();
  /** When a file was last named, sent or asked for; or first seen. */
  readonly #wantedAtMs = new Map<Sha256, number>();
  /** How many transfers and images being recorded need a file now. */
  readonly #held = new Map<Sha256, number>();
  /** When a copy to a node failed last, by node and file. */
  readonly #failedAtMs = new Map<string, number>();
  #term: number | null = null;

  constructor(context: BackendContext, nowMs = (): number => context.clock.monotonicMs()) {
    this.#context = context;
    this.#nowMs = nowMs;
  }

  /** CodedError 'not-found' unless some node that answers has the whole file. It is kept for ten minutes from now. */
  get(text: string): Artifact {
    this.#enter();
    const sha256 = parseSha256(text);
    const nodes = this.aliveNodes().filter((node) => this.holds(node, sha256));
    const sizeBytes = (this.#uploads.get(sha256) ?? this.known(sha256))?.info.sizeBytes;
    if (nodes.length === 0 || sizeBytes === undefined)
      throw new CodedError('not-found', `No file ${sha256} is stored.`);
    this.#wanted(sha256);
    return { sha256, sizeBytes, nodes: [...nodes] };
  }

  /** Streams a file to every storage node that answers, at once. At least one must keep it. */
  async put(upload: ArtifactUpload, call: Call): Promise<Artifact> {
    this.#enter();
    const sha256 = parseSha256(upload.sha256);
    const nodes = this.aliveNodes();
    if (nodes.length === 0)
      throw new CodedError('unavailable', 'No storage node answers.', {
        advice: 'Nothing was stored. Start the storage service, then try again.',
      });
    this.#demandRoom(nodes, sha256, upload.dataBytes);
    return this.holding([sha256], async () => {
      const { kind, results } = await this.#send({ upload, sha256, nodes, call });
      const kept = results.flatMap((result, index) =>
        result.status === 'fulfilled' ? [{ node: nodes[index] as StorageName, info: result.value }] : [],
      );
      const [first] = kept;
      if (first === undefined) throw refusalOf(results);
      if (this.#uploads.size >= UPLOADS_MAX) this.#uploads.delete(this.#uploads.keys().next().value as Sha256);
      const holders = kept.map(({ node }) => node);
      this.#uploads.set(sha256, { info: first.info, kind, nodes: holders });
      return { sha256, sizeBytes: first.info.sizeBytes, nodes: holders };
    });
  }

  /** CodedError 'conflict' where something names the file or it is on its way, 'not-found' where no node that answers has it. */
  async delete(text: string): Promise<void> {
    this.#enter();
    const sha256 = parseSha256(text);
    const why = this.#isUseUnclear()
      ? 'a record that cannot be read may name it'
      : this.#inUse().has(sha256)
        ? 'an image, a VM or a disk names it'
        : this.#held.has(sha256) && 'it is being sent, or named just now';
    if (why)
      throw new CodedError('conflict', `The file ${sha256.slice(0, 12)}… is in use: ${why}.`, {
        advice: 'Nothing was deleted. It goes with the last object that names it.',
      });
    const nodes = this.aliveNodes().filter((node) => this.holds(node, sha256));
    if (nodes.length === 0)
      throw new CodedError('not-found', `No file ${sha256} is stored.`, { advice: 'Nothing was deleted.' });
    const results = await this.#order(sha256, nodes);
    if (results.every(({ status }) => status === 'rejected')) throw refusalOf(results);
  }

  /** The file as what it was taken in; it stays for ten minutes from now. CodedError 'not-found', or 'bad-input' where it is no disk. */
  demand(text: string, what: 'disk' | 'kernel' | 'initrd'): StoredFile {
    this.#enter();
    const sha256 = parseSha256(text);
    const stored = this.#uploads.get(sha256) ?? this.known(sha256);
    if (stored === undefined)
      throw new CodedError('not-found', `The ${what} file ${sha256.slice(0, 12)}… was not uploaded.`, {
        advice: 'Upload it first: PUT /v1/artifacts/SHA256.',
      });
    if (what === 'disk' && !stored.kind.startsWith('disk-'))
      throw new CodedError('bad-input', `The file ${sha256.slice(0, 12)}… was sent as a ${stored.kind}, no disk.`, {
        advice: 'Nothing was stored. Upload it as a disk, so that it is looked at as one.',
      });
    this.#wanted(sha256);
    return stored;
  }

  /**
   * Stores a seed on one node and runs `act`, which records the disk that needs the seed; the seed is kept until that
   * disk is made. If `act` fails, the seed is deleted, unless the outcome of `act` is unknown.
   */
  async withSeed<T>({ content, sha256 }: Seed, node: StorageName, act: () => Promise<T>): Promise<T> {
    this.#enter();
    const seed = { sha256, kind: 'seed', sizeBytes: content.length, body: Readable.from([content]) } as const;
    try {
      return await this.holding([sha256], async () => {
        await this.#context.storage.putArtifact(node, seed, { deadlineMs: SEED_MS });
        return act();
      });
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'deadline') await this.drop([sha256]);
      throw error;
    }
  }

  /** Deletes those of `files` that nothing names any more, where nodes answer; the sweep finds the others. */
  async drop(files: readonly Sha256[]): Promise<void> {
    if (this.#isUseUnclear()) return;
    const kept = this.#inUse();
    for (const sha256 of files) {
      if (kept.has(sha256) || this.#held.has(sha256)) continue;
      await this.#order(sha256, this.aliveNodes());
    }
  }

  /** Deletes what nothing has named or asked for in ten minutes, as far as this leader saw. Answers which. */
  async sweep(): Promise<readonly string[]> {
    this.#enter();
    if (this.#isUseUnclear()) return [];
    const inUse = this.#inUse();
    const nodes = this.aliveNodes();
    const stored = new Set(nodes.flatMap((node) => this.#report(node)?.artifacts ?? []));
    for (const sha256 of this.#wantedAtMs.keys())
      if (!stored.has(sha256) && !this.#uploads.has(sha256)) this.#wantedAtMs.delete(sha256);
    const deleted: string[] = [];
    for (const sha256 of stored) {
      const wantedAtMs = this.#wantedAtMs.get(sha256);
      if (inUse.has(sha256) || this.#held.has(sha256) || wantedAtMs === undefined) this.#wanted(sha256);
      else if (this.#nowMs() - wantedAtMs >= UNNAMED_MS_MAX && deleted.length < DELETIONS_AT_ONCE) {
        await this.#order(sha256, nodes);
        deleted.push(sha256);
      }
    }
    return deleted;
  }

  /**
   * Copies files of images to nodes that answer and lack them, from one that has them, one after the other; a copy that failed is tried
   * again after ten minutes. Ends early with `signal`.
   */
  async replicate(signal: AbortSignal): Promise<Omit<Kept, 'deleted'>> {
    this.#enter();
    const copied: string[] = [];
    const failed: string[] = [];
    for (const { value: image } of this.#context.store.images.values()) {
      for (const sha256 of filesOf(image)) {
        for (const node of this.#lacking(sha256)) {
          if (signal.aborted) return { copied, failed };
          const what = `${image.name} ${sha256.slice(0, 12)} to ${node}`;
          try {
            await this.holding([sha256], () => this.#copy(sha256, node, signal));
            copied.push(what);
          } catch (error) {
            this.#failedAtMs.set(`${node} ${sha256}`, this.#nowMs());
            failed.push(`${what}: ${messageOf(error)}`);
          }
        }
      }
    }
    return { copied, failed };
  }

  /** A file that an image names. */
  known(sha256: Sha256): StoredFile | undefined {
    for (const { value } of this.#context.store.images.values()) {
      const { disk, direct } = value;
      if (disk?.sha256 === sha256) {
        const { sizeBytes, virtualSizeBytes } = disk;
        return { kind: `disk-${disk.format}`, info: { sha256, sizeBytes, virtualSizeBytes } };
      }
      for (const [kind, ref] of [
        ['kernel', direct?.kernel],
        ['initrd', direct?.initrd],
      ] as const)
        if (ref?.sha256 === sha256) return { kind, info: { sha256, sizeBytes: ref.sizeBytes, virtualSizeBytes: null } };
    }
    return undefined;
  }

  aliveNodes(): readonly StorageName[] {
    const observer = this.#context.leading()?.controller.storageObserver;
    return [...this.#context.store.storage.values()]
      .map(({ value }) => value.name)
      .filter((name) => observer?.answers(name) === true);
  }

  /** Whether the node reports the file, or took it in a moment ago. */
  holds(node: StorageName, sha256: Sha256): boolean {
    return (
      this.#uploads.get(sha256)?.nodes.includes(node) === true ||
      (this.#report(node)?.artifacts.includes(sha256) ?? false)
    );
  }

  /** Nothing deletes these files until `act` has ended. */
  async holding<T>(files: readonly Sha256[], act: () => Promise<T>): Promise<T> {
    for (const sha256 of files) this.#held.set(sha256, (this.#held.get(sha256) ?? 0) + 1);
    try {
      return await act();
    } finally {
      for (const sha256 of files) {
        const left = (this.#held.get(sha256) ?? 1) - 1;
        if (left === 0) this.#held.delete(sha256);
        else this.#held.set(sha256, left);
        this.#wanted(sha256);
      }
    }
  }

  async #send(how: {
    readonly upload: ArtifactUpload;
    readonly sha256: Sha256;
    readonly nodes: readonly StorageName[];
    readonly call: Call;
  }): Promise<{ kind: StoredFile['kind']; results: readonly PromiseSettledResult<ArtifactInfo>[] }> {
    const { upload, sha256, nodes, call } = how;
    const { head, body } = await peek(upload.body, QCOW2_MAGIC.length);
    const kind = upload.kind === 'disk' ? (head.equals(QCOW2_MAGIC) ? 'disk-qcow2' : 'disk-raw') : upload.kind;
    const branches = nodes.map((node) => ({ node, stream: new PassThrough() }));
    // A source that ends early ends the branches, whose answers may take a while: its failure must not be nobody's.
    const feeding = feed(
      body,
      branches.map(({ stream }) => stream),
    ).catch(() => undefined);
    const results = await Promise.allSettled(
      branches.map(({ node, stream }) =>
        this.#context.storage.putArtifact(
          node,
          { sha256, kind, sizeBytes: upload.sizeBytes, dataBytes: upload.dataBytes, body: stream },
          { deadlineMs: TRANSFER_MS_MAX, signal: call.signal },
        ),
      ),
    );
    await feeding;
    return { kind, results };
  }

  async #order(sha256: Sha256, nodes: readonly StorageName[]): Promise<readonly PromiseSettledResult<void>[]> {
    const term = this.#context.leading()?.term ?? 0;
    this.#uploads.delete(sha256);
    this.#wantedAtMs.delete(sha256);
    return Promise.allSettled(nodes.map((node) => this.#context.storage.deleteArtifact(node, sha256, term, DELETE_MS)));
  }

  /** Returns true while a record that may name a file cannot be read. */
  #isUseUnclear(): boolean {
    const { unreadable } = this.#context.store;
    return [PREFIX.image, PREFIX.vm, PREFIX.disk].some((prefix) => unreadableUser(prefix, unreadable) !== null);
  }

  /** What images, VMs and disks that are still to be cloned name. */
  #inUse(): ReadonlySet<Sha256> {
    const { images, vms, disks } = this.#context.store;
    return new Set([
      ...[...images.values()].flatMap(({ value }) => filesOf(value)),
      ...[...vms.values()].flatMap(({ value: { spec } }) =>
        spec.boot.firmware === 'direct'
          ? [spec.boot.kernel, ...(spec.boot.initrd === null ? [] : [spec.boot.initrd])]
          : [],
      ),
      ...[...disks.values()].flatMap(({ value: { source, phase } }) =>
        source.kind === 'image' || (source.kind === 'content' && phase === 'creating') ? [source.artifact] : [],
      ),
    ]);
  }

  /** Nodes that answer and have not got the file, and whose last failure is not recent. */
  #lacking(sha256: Sha256): readonly StorageName[] {
    return this.aliveNodes().filter((node) => {
      const failedAtMs = this.#failedAtMs.get(`${node} ${sha256}`) ?? Number.NEGATIVE_INFINITY;
      const isKnown = this.#report(node) !== null;
      return isKnown && !this.holds(node, sha256) && this.#nowMs() - failedAtMs >= COPY_AGAIN_MS;
    });
  }

  async #copy(sha256: Sha256, node: StorageName, signal: AbortSignal): Promise<void> {
    const { storage } = this.#context;
    const stored = this.known(sha256);
    const source = this.aliveNodes().find((other) => this.holds(other, sha256));
    if (stored === undefined || source === undefined)
      throw new CodedError('unavailable', 'no storage node that answers has it');
    const body = await storage.openArtifact(source, sha256, { deadlineMs: OPEN_MS, signal });
    const artifact = { sha256, kind: stored.kind, sizeBytes: stored.info.sizeBytes, body };
    await storage.putArtifact(node, artifact, { deadlineMs: TRANSFER_MS_MAX, signal });
  }

  #wanted(sha256: Sha256): void {
    this.#wantedAtMs.set(sha256, this.#nowMs());
  }

  /**
   * CodedError 'no-capacity', before any byte of an upload is read, if no answering node has the file or room for it.
   */
  #demandRoom(nodes: readonly StorageName[], sha256: Sha256, dataBytes: number): void {
    const free = (node: StorageName): number => this.#report(node)?.pool.freeBytes ?? Number.POSITIVE_INFINITY;
    if (nodes.some((node) => this.holds(node, sha256) || free(node) >= dataBytes)) return;
    const rooms = nodes.map((node) => `${node} has ${Math.floor(free(node) / MIB)} MiB free`).join(', ');
    throw new CodedError('no-capacity', `No storage node has room for the ${dataBytes} bytes of the file: ${rooms}.`, {
      advice: 'Nothing was stored. Delete what is not needed, or make a pool larger.',
    });
  }

  #report(node: StorageName): Pick<StorageReport, 'artifacts' | 'pool'> | null {
    return this.#context.leading()?.controller.storageObserver.report(node) ?? null;
  }

  /** What was known in an earlier reign, another leader may have changed. */
  #enter(): void {
    const term = this.#context.leading()?.term ?? null;
    if (term === this.#term) return;
    this.#term = term;
    this.#uploads.clear();
    this.#wantedAtMs.clear();
    this.#failedAtMs.clear();
  }
}

/** The files of an image: disk, kernel, initrd. */
export function filesOf({ disk, direct }: ImageRecord): Sha256[] {
  return [disk?.sha256, direct?.kernel.sha256, direct?.initrd?.sha256].filter(
    (sha256): sha256 is Sha256 => sha256 !== undefined,
  );
}

/** The most telling of several refusals: one that concerns the file itself, if there is one. */
function refusalOf(results: readonly PromiseSettledResult<unknown>[]): unknown {
  const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  return (
    reasons.find(
      (reason) => reason instanceof CodedError && reason.code !== 'unavailable' && reason.code !== 'deadline',
    ) ??
    reasons[0] ??
    new CodedError('failed', messageOf('nothing was stored'))
  );
}
