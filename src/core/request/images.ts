/**
 * Images that people record and delete. Pure. Guarantees: an image names only files that a storage node which answers
 * holds together, with sizes and formats as they were found there; an image that a VM was made from is not deleted.
 */
import { CodedError } from '../../base/errors.ts';
import { type ImageName, parseImageName, type Sha256, type StorageName } from '../../base/ids.ts';
import { listed } from '../../base/listed.ts';
import { utf8Bytes } from '../../base/utf8.ts';
import type { ArtifactRef, ImageRecord } from '../model/cluster.ts';
import { recordsOf } from '../model/cluster-index.ts';
import { LIMITS } from '../model/limits.ts';
import { demandUsersKnown } from '../plan/vm/unreadable.ts';
import type { ArtifactInfo } from '../ports/storage-link.ts';
import type { Entry, RequestSnapshot } from '../ports/store.ts';
import { type Admitted, type Basis, checkRevision, type OfRevision } from './basis.ts';
import { demandAppend, demandCount, demandDirectBoot } from './demands.ts';
import { isGoneNode } from './storage-removal.ts';

const MIB = 1024 * 1024;
const DEFAULTS = { memoryBytes: 512 * MIB, vcpus: 1, blankDiskBytes: null } as const;

/** A file that was uploaded, as storage found it. */
export interface StoredFile {
  readonly info: ArtifactInfo;
  readonly kind: 'disk-qcow2' | 'disk-raw' | 'kernel' | 'initrd';
}

/** The files that storage nodes hold, as the leader knows them. */
export interface StoredFiles {
  /** CodedError 'not-found', or 'bad-input' for a disk that was uploaded as something else. */
  demand(sha256: string, what: 'disk' | 'kernel' | 'initrd'): StoredFile;
  /** The storage nodes that answer and hold all these files. */
  nodesWith(files: readonly Sha256[]): readonly StorageName[];
}

/** An image that somebody asks for, over files that were uploaded before. */
export interface ImageRequest {
  readonly disk?: { readonly sha256: string; readonly format: 'qcow2' | 'raw' } | undefined;
  readonly direct?:
    | {
        readonly kernel: string;
        readonly initrd?: string | undefined;
        /** Kernel command line. */
        readonly append?: string | undefined;
      }
    | undefined;
  readonly defaults?:
    | {
        readonly memoryBytes?: number | undefined;
        readonly vcpus?: number | undefined;
        readonly blankDiskBytes?: number | undefined;
      }
    | undefined;
  readonly minMemoryBytes?: number | undefined;
}

/** An image by its name. CodedError 'not-found'. */
export function findImage({ images }: Pick<RequestSnapshot, 'images'>, name: string): Entry<ImageRecord> {
  const entry = images.get(name as ImageName);
  if (entry === undefined)
    throw new CodedError('not-found', `There is no image ${name}.`, { advice: 'List them with "gp image list".' });
  return entry;
}

/** CodedError 'exists' for a name that is taken, 'no-capacity' if the cluster has all the images it may have. */
export function demandNewImage({ images }: Pick<RequestSnapshot, 'images'>, name: string): void {
  if (images.has(name as ImageName))
    throw new CodedError('exists', `An image named ${name} exists.`, {
      advice: 'Nothing was changed. Choose another name, or delete that image first.',
    });
  demandCount(images.size, LIMITS.images);
}

/** The record of a new image. CodedError 'bad-input', 'bad-image', 'not-found', 'unavailable'. */
export function imageOf(
  { now }: Pick<Basis, 'now'>,
  name: string,
  request: ImageRequest,
  files: StoredFiles,
): ImageRecord {
  const parsed = parseImageName(name);
  if (request.disk === undefined && request.direct === undefined)
    throw new CodedError('bad-input', `Image ${name} has neither a disk nor a kernel.`, {
      advice: 'Nothing was stored.',
    });
  const memoryBytes = memoryOf(name, request);
  const disk = request.disk === undefined ? null : files.demand(request.disk.sha256, 'disk');
  if (disk !== null) demandFormat(name, disk, request.disk?.format);
  const kernel = request.direct === undefined ? null : files.demand(request.direct.kernel, 'kernel');
  const initrd = request.direct?.initrd === undefined ? null : files.demand(request.direct.initrd, 'initrd');
  if (kernel !== null)
    demandDirectBoot({ kernelBytes: kernel.info.sizeBytes, initrdBytes: initrd?.info.sizeBytes ?? 0 });
  const append = request.direct?.append ?? '';
  demandAppend(utf8Bytes(append), 'stored');
  const stored = [disk, kernel, initrd].filter((file) => file !== null);
  const nodes = files.nodesWith(stored.map(({ info }) => info.sha256));
  if (nodes.length === 0)
    throw new CodedError('unavailable', `No storage node that answers holds all files of image ${name}.`, {
      advice: 'Nothing was stored. Upload them again: PUT /v1/artifacts/SHA256.',
    });
  const { minMemoryBytes, defaults } = request;
  return {
    name: parsed,
    disk: disk === null ? null : diskOf(disk),
    direct: kernel === null ? null : { kernel: refOf(kernel), initrd: initrd === null ? null : refOf(initrd), append },
    defaults: {
      memoryBytes,
      vcpus: defaults?.vcpus ?? DEFAULTS.vcpus,
      blankDiskBytes: defaults?.blankDiskBytes ?? DEFAULTS.blankDiskBytes,
    },
    ...(minMemoryBytes === undefined ? {} : { minMemoryBytes }),
    nodes,
    createdAt: now,
  };
}

/** Records a new image. CodedError as `demandNewImage`. */
export function createImage({ records }: Basis, image: ImageRecord): Admitted<null> {
  demandNewImage(records, image.name);
  return { changes: [{ kind: 'image', id: image.name, value: image }], result: null };
}

/** Deletes an image that no VM was made from. CodedError 'not-found', 'stale-revision', 'conflict'. */
export function deleteImage({ records }: Basis, name: string, { ifMatch }: OfRevision): Admitted<ImageRecord> {
  const entry = findImage(records, name);
  checkRevision(entry, ifMatch, `Image ${name}`);
  demandUsersKnown(records.unreadable);
  const users = [...recordsOf(records.vms)].filter(({ spec }) => spec.image === name).map((vm) => vm.name);
  if (users.length > 0)
    throw new CodedError('conflict', `Image ${name} is used by ${listed(users)}.`, {
      advice: 'Nothing was deleted. Delete those VMs first.',
    });
  return { changes: [{ kind: 'image', id: entry.value.name, value: null }], result: entry.value };
}

/**
 * Records which storage nodes have an image: those in its record and those that are seen to have all its files, without
 * nodes that were declared lost or removed. Nothing to do for an image that is gone.
 */
export function recordImageNodes(
  { records }: { readonly records: Pick<RequestSnapshot, 'images' | 'storage' | 'unreadable'> },
  name: ImageName,
  nodesWith: (image: ImageRecord) => readonly StorageName[],
): Admitted<null> {
  const image = records.images.get(name)?.value;
  if (image === undefined) return { changes: [], result: null };
  const nodes = [...new Set([...image.nodes, ...nodesWith(image)])].filter((node) => !isGoneNode(records, node)).sort();
  if (nodes.join() === image.nodes.join()) return { changes: [], result: null };
  return { changes: [{ kind: 'image', id: name, value: { ...image, nodes } }], result: null };
}

function memoryOf(name: string, { defaults, minMemoryBytes }: ImageRequest): number {
  const memoryBytes = defaults?.memoryBytes ?? Math.max(DEFAULTS.memoryBytes, minMemoryBytes ?? 0);
  if (minMemoryBytes !== undefined && memoryBytes < minMemoryBytes)
    throw new CodedError('bad-input', `Image ${name} would give VMs less memory than it says that they need.`, {
      advice: 'Nothing was stored. Give defaults.memoryBytes at least minMemoryBytes.',
    });
  return memoryBytes;
}

/** Checks a stated format against the one detected from the stored file. CodedError 'bad-image' if they differ. */
function demandFormat(name: string, { kind }: StoredFile, stated: 'qcow2' | 'raw' | undefined): void {
  if (stated === undefined || kind === `disk-${stated}`) return;
  const is = kind === 'disk-qcow2' ? 'qcow2' : 'raw';
  throw new CodedError(
    'bad-image',
    `The request says that the disk of image ${name} is ${stated}, and its file is ${is}.`,
    {
      advice: `Nothing was stored. Say ${is}, or upload the file that was meant.`,
    },
  );
}

function refOf({ info: { sha256, sizeBytes } }: StoredFile): ArtifactRef {
  return { sha256, sizeBytes };
}

function diskOf(file: StoredFile): NonNullable<ImageRecord['disk']> {
  return {
    ...refOf(file),
    format: file.kind === 'disk-qcow2' ? 'qcow2' : 'raw',
    virtualSizeBytes: file.info.virtualSizeBytes ?? file.info.sizeBytes,
  };
}
