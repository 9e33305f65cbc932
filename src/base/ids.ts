/**
 * Branded identifiers: a string that names a VM does not compile where one that names a disk is asked for.
 * The `parse…` functions are the only way from untrusted text to an identifier.
 */
import { CodedError } from './errors.ts';

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** `vm-` and 12 hexadecimal digits; never reused. */
export type VmId = Brand<string, 'VmId'>;
/** `disk-` and 12 hexadecimal digits; never reused. */
export type DiskId = Brand<string, 'DiskId'>;
/** `task-` and 12 hexadecimal digits. */
export type TaskId = Brand<string, 'TaskId'>;
/** `drain-` and 12 hexadecimal digits; never reused. */
export type DrainId = Brand<string, 'DrainId'>;
/** `roll-` and 12 hexadecimal digits; never reused. */
export type RollId = Brand<string, 'RollId'>;
/** A host's name is its identity: a host that is wiped and joins again under its name is the same host. */
export type HostName = Brand<string, 'HostName'>;
export type StorageName = Brand<string, 'StorageName'>;
export type ControlName = Brand<string, 'ControlName'>;
export type NetworkName = Brand<string, 'NetworkName'>;
/** A guest cluster's name is its identity. */
export type GuestClusterName = Brand<string, 'GuestClusterName'>;
export type ImageName = Brand<string, 'ImageName'>;
/** SHA-256 in lower-case hexadecimal of a stored file's content. */
export type Sha256 = Brand<string, 'Sha256'>;
/** A VM's fencing token: 1, 2, 3 …; only ever grows. */
export type Generation = Brand<number, 'Generation'>;
/** A leader's term: the create revision of its election key in etcd; a later leader's is larger. */
export type Term = Brand<number, 'Term'>;

/** RFC 1123 label, at most 40 characters: usable as a host name in a guest, a file name and a path element. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;
const ID = /^(vm|disk|task|drain|roll)-[0-9a-f]{12}$/;
const SHA256 = /^[0-9a-f]{64}$/;

function checked<T extends string>(text: string, pattern: RegExp, what: string): T {
  if (!pattern.test(text)) {
    throw new CodedError('bad-input', `${JSON.stringify(text.slice(0, 60))} is not a valid ${what}.`, {
      advice: what.endsWith('name')
        ? 'Use 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit.'
        : 'Nothing was changed.',
    });
  }
  return text as T;
}

/** Returns true if the text is a valid disk ID or the SHA-256 name of a stored file. */
export function isId(text: string, kind: 'disk' | 'sha256'): boolean {
  return kind === 'sha256' ? SHA256.test(text) : text.startsWith('disk-') && ID.test(text);
}

/** True for what may name a VM, host, network or image. */
export function isName(text: string): boolean {
  return NAME.test(text);
}

/** A VM's id from untrusted text, or CodedError `bad-input`. */
export const parseVmId = (text: string): VmId => checked<VmId>(text, ID, 'VM id');
/** A disk's id from untrusted text, or CodedError `bad-input`. */
export const parseDiskId = (text: string): DiskId => checked<DiskId>(text, ID, 'disk id');
/** A task's id from untrusted text, or CodedError `bad-input`. */
export const parseTaskId = (text: string): TaskId => checked<TaskId>(text, ID, 'task id');
/** A drain's id from untrusted text, or CodedError `bad-input`. */
export const parseDrainId = (text: string): DrainId => checked<DrainId>(text, ID, 'drain id');
/** A roll's id from untrusted text, or CodedError `bad-input`. */
export const parseRollId = (text: string): RollId => checked<RollId>(text, ID, 'roll id');
/** A host's name from untrusted text (an RFC 1123 label of at most 40 characters), or CodedError `bad-input`. */
export const parseHostName = (text: string): HostName => checked<HostName>(text, NAME, 'host name');
/** A storage node's name, by the rules of a host's. */
export const parseStorageName = (text: string): StorageName => checked<StorageName>(text, NAME, 'storage node name');
/** A control node's name, by the rules of a host's. */
export const parseControlName = (text: string): ControlName => checked<ControlName>(text, NAME, 'control node name');
/** A network's name, by the rules of a host's. */
export const parseNetworkName = (text: string): NetworkName => checked<NetworkName>(text, NAME, 'network name');
/** A guest cluster's name, by the rules of a host's. */
export const parseGuestClusterName = (text: string): GuestClusterName =>
  checked<GuestClusterName>(text, NAME, 'guest cluster name');
/** An image's name, by the rules of a host's. */
export const parseImageName = (text: string): ImageName => checked<ImageName>(text, NAME, 'image name');
/** A SHA-256 in 64 lower-case hexadecimal digits, or CodedError `bad-input`. */
export const parseSha256 = (text: string): Sha256 => checked<Sha256>(text, SHA256, 'SHA-256');

/** A generation from a number: a positive safe integer, or CodedError. */
export function parseGeneration(value: number): Generation {
  if (!Number.isSafeInteger(value) || value < 1) throw new CodedError('bad-input', `${value} is not a generation.`);
  return value as Generation;
}

/** The generation after `current` (0 stands for a VM that never ran). */
export function nextGeneration(current: Generation | 0): Generation {
  return (current + 1) as Generation;
}
