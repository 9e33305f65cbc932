/**
 * Files through the API: uploads, questions and deletions. Each file goes to every storage node that answers when it is
 * sent. The leader keeps the list of files and decides which of them stay (core/loop/duties/file-keeper.ts).
 * Guarantees: between `demand` and the image that is recorded because of it nothing is deleted.
 */
import { PassThrough, Readable } from 'node:stream';
import type { Artifact } from '../../api/views.ts';
import { CodedError, messageOf } from '../../base/errors.ts';
import { parseSha256, type Sha256, type StorageName } from '../../base/ids.ts';
import type { FileKeeper } from '../../core/loop/duties/file-keeper.ts';
import type { FileUse } from '../../core/loop/duties/file-use.ts';
import type { ArtifactInfo } from '../../core/ports/storage-link.ts';
import type { StoredFile } from '../../core/request/images.ts';
import type { ArtifactUpload, Call } from '../api/call.ts';
import type { Seed } from './cloud-init.ts';
import type { BackendContext } from './context.ts';
import { feed, peek } from './upload-feed.ts';

const MIB = 1024 ** 2;
/** An upload ends when it moves for longer than this. */
const TRANSFER_MS_MAX = 3_600_000;
/** Deadline for storing a seed, in ms; a seed has at most one MiB. */
const SEED_MS = 10_000;
const QCOW2_MAGIC = Buffer.from('QFI\xfb', 'latin1');

/** The image files of one control node. Each call is refused with 'unavailable' while that node does not lead. */
export class Artifacts {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** The leader's care for files. CodedError 'unavailable' on a node that does not lead. */
  get #keeper(): FileKeeper {
    const keeper = this.#context.leading()?.controller.files;
    if (keeper === undefined)
      throw new CodedError('unavailable', 'This control node does not lead, and does not know the files of images.', {
        advice: 'Nothing was changed. Ask the leader.',
      });
    return keeper;
  }

  /** Nothing deletes these files until `act` has ended. */
  holding<T>(files: readonly Sha256[], act: () => Promise<T>): Promise<T> {
    return this.#keeper.use.holding(files, act);
  }

  /** The storage nodes that answer and hold all these files. */
  nodesWith(files: readonly Sha256[]): readonly StorageName[] {
    return this.#keeper.use.nodesWith(files);
  }

  /**
   * Deletes those of `files` that nothing names any more, where nodes answer; the leader's next rounds find the others.
   */
  drop(files: readonly Sha256[]): Promise<void> {
    return this.#keeper.drop(files);
  }

  /** CodedError 'not-found' unless some node that answers has the whole file. It is kept for ten minutes from now. */
  get(text: string): Artifact {
    const { use } = this.#keeper;
    const sha256 = parseSha256(text);
    const nodes = use.nodesWith([sha256]);
    const sizeBytes = use.known(sha256)?.sizeBytes;
    if (nodes.length === 0 || sizeBytes === undefined)
      throw new CodedError('not-found', `No file ${sha256} is stored.`);
    use.wanted(sha256);
    return { sha256, sizeBytes, nodes: [...nodes] };
  }

  /** Streams a file to every storage node that answers, at once. At least one must keep it. */
  async put(upload: ArtifactUpload, call: Call): Promise<Artifact> {
    const { use } = this.#keeper;
    const sha256 = parseSha256(upload.sha256);
    const nodes = use.takingNodes();
    if (nodes.length === 0)
      throw new CodedError('unavailable', 'No storage node in service answers.', {
        advice: 'Nothing was stored. Start the storage service, then try again.',
      });
    demandRoom(use, { nodes, sha256, dataBytes: upload.dataBytes });
    return use.holding([sha256], async () => {
      const { kind, results } = await this.#send({ upload, sha256, nodes, call });
      const kept = results.flatMap((result, index) =>
        result.status === 'fulfilled' ? [{ node: nodes[index] as StorageName, info: result.value }] : [],
      );
      const [first] = kept;
      if (first === undefined) throw refusalOf(results);
      const holders = kept.map(({ node }) => node);
      const { sizeBytes, virtualSizeBytes } = first.info;
      use.uploaded(sha256, { kind, sizeBytes, virtualSizeBytes, nodes: holders });
      return { sha256, sizeBytes, nodes: holders };
    });
  }

  /**
   * CodedError 'conflict' if a record names the file or an upload of it is under way, 'not-found' if no node that
   * answers has it.
   */
  async delete(text: string): Promise<void> {
    const keeper = this.#keeper;
    const sha256 = parseSha256(text);
    const why = keeper.neededBecause(sha256);
    if (why !== null)
      throw new CodedError('conflict', `The file ${sha256.slice(0, 12)}… is in use: ${why}.`, {
        advice: 'Nothing was deleted. It goes with the last object that names it.',
      });
    const nodes = keeper.use.nodesWith([sha256]);
    if (nodes.length === 0)
      throw new CodedError('not-found', `No file ${sha256} is stored.`, { advice: 'Nothing was deleted.' });
    const results = await keeper.remove(sha256, nodes);
    if (results.every(({ status }) => status === 'rejected')) throw refusalOf(results);
  }

  /**
   * The file as what it was taken in; it stays for ten minutes from now. CodedError 'not-found', or 'bad-input' where
   * it is no disk.
   */
  demand(text: string, what: 'disk' | 'kernel' | 'initrd'): StoredFile {
    const { use } = this.#keeper;
    const sha256 = parseSha256(text);
    const stored = use.known(sha256);
    if (stored === undefined)
      throw new CodedError('not-found', `The ${what} file ${sha256.slice(0, 12)}… was not uploaded.`, {
        advice: 'Upload it first: PUT /v1/artifacts/SHA256.',
      });
    if (what === 'disk' && !stored.kind.startsWith('disk-'))
      throw new CodedError('bad-input', `The file ${sha256.slice(0, 12)}… was sent as a ${stored.kind}, no disk.`, {
        advice: 'Nothing was stored. Upload it as a disk, so that it is checked as one.',
      });
    use.wanted(sha256);
    const { kind, sizeBytes, virtualSizeBytes } = stored;
    return { kind, info: { sha256, sizeBytes, virtualSizeBytes } };
  }

  /**
   * Stores a seed on one node and runs `act`, which records the disk that needs the seed; the seed is kept until that
   * disk is made. If `act` fails, the seed is deleted, unless the outcome of `act` is unknown.
   */
  async withSeed<T>({ content, sha256 }: Seed, node: StorageName, act: () => Promise<T>): Promise<T> {
    const keeper = this.#keeper;
    const seed = { sha256, kind: 'seed', sizeBytes: content.length, body: Readable.from([content]) } as const;
    try {
      return await keeper.use.holding([sha256], async () => {
        await this.#context.storage.putArtifact(node, seed, { deadlineMs: SEED_MS });
        return act();
      });
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== 'deadline') await keeper.drop([sha256]);
      throw error;
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
    // A source that ends early ends the branches, whose answers may take a while: somebody must handle its failure
    // until then.
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
}

/** CodedError 'no-capacity', before any byte of an upload is read, if no answering node has the file or room for it. */
function demandRoom(
  use: FileUse,
  file: { readonly nodes: readonly StorageName[]; readonly sha256: Sha256; readonly dataBytes: number },
): void {
  const { nodes, sha256, dataBytes } = file;
  const free = (node: StorageName): number => use.report(node)?.pool.freeBytes ?? Number.POSITIVE_INFINITY;
  if (nodes.some((node) => use.holds(node, sha256) || free(node) >= dataBytes)) return;
  const rooms = nodes.map((node) => `${node} has ${Math.floor(free(node) / MIB)} MiB free`).join(', ');
  throw new CodedError('no-capacity', `No storage node has room for the ${dataBytes} bytes of the file: ${rooms}.`, {
    advice: 'Nothing was stored. Delete what is not needed, or make a pool larger.',
  });
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
