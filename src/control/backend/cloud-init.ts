/**
 * Reads the files of a VM's cloud-init seed from a request. Pure. Guarantees: bytes arrive in the guest unchanged; text
 * that cannot be encoded in UTF-8 is refused, not changed.
 */
import { createHash } from 'node:crypto';
import type { CreateVm } from '../../api/requests.ts';
import { CodedError } from '../../base/errors.ts';
import { parseSha256, type VmId } from '../../base/ids.ts';
import { demandSeed } from '../../core/request/demands.ts';
import type { SeedFile as StoredFile } from '../../core/request/new-disks.ts';
import { makeSeedIso, type SeedFile } from '../../wire/iso9660/seed-iso.ts';

type CloudInit = NonNullable<CreateVm['cloudInit']>;
type Given = CloudInit[keyof CloudInit];

/** The NoCloud seed of a VM, as a file that is stored under its hash. */
export interface Seed extends StoredFile {
  readonly content: Uint8Array;
}

/** Builds the NoCloud seed of a request; null if the request has no cloud-init. CodedError 'bad-input'. */
export function seedOf({ name, cloudInit }: Pick<CreateVm, 'name' | 'cloudInit'>, id: VmId): Seed | null {
  if (cloudInit === undefined) return null;
  const content = makeSeedIso({ volumeLabel: 'CIDATA', files: seedFiles(cloudInit, { id, name }) });
  return {
    content,
    sizeBytes: content.length,
    sha256: parseSha256(createHash('sha256').update(content).digest('hex')),
  };
}

/** Returns the files, with defaults for the required files that the request does not give. CodedError 'bad-input'. */
export function seedFiles(given: CloudInit, vm: { readonly id: VmId; readonly name: string }): readonly SeedFile[] {
  const userData = bytesOf('user-data', given.userData ?? '#cloud-config\n{}\n');
  const metaData = bytesOf('meta-data', given.metaData ?? `instance-id: ${vm.id}\nlocal-hostname: ${vm.name}\n`);
  const networkConfig = given.networkConfig === undefined ? null : bytesOf('network-config', given.networkConfig);
  demandSeed({
    userData: userData.length,
    metaData: metaData.length,
    networkConfig: networkConfig?.length ?? 0,
  });
  return [
    { name: 'meta-data', content: metaData },
    { name: 'user-data', content: userData },
    ...(networkConfig === null ? [] : [{ name: 'network-config', content: networkConfig }]),
  ];
}

function bytesOf(name: string, given: NonNullable<Given>): Uint8Array {
  if (typeof given === 'string') {
    if (given.isWellFormed()) return Buffer.from(given, 'utf8');
    throw new CodedError('bad-input', `The ${name} is no valid Unicode text: it has half of a surrogate pair.`, {
      advice: 'Nothing was created. Send its bytes: {"base64": "…"}.',
    });
  }
  const bytes = Buffer.from(given.base64, 'base64');
  if (bytes.toString('base64') === given.base64) return bytes;
  throw new CodedError('bad-input', `The ${name} is no base64 (RFC 4648, section 4, with padding).`, {
    advice: 'Nothing was created.',
  });
}
