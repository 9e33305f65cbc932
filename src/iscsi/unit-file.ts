/**
 * State of a disk that is served alone, in a file beside it: `FILE.unit.json` with the unit's identity and its
 * persistent reservations. Guarantees: the identity never changes once the file is there; an acknowledged reservation
 * survives power loss. In a cluster both are in etcd.
 */
import { randomUUID } from 'node:crypto';
import { CodedError } from '../base/errors.ts';
import type { ReservationStore } from '../core/scsi/reservation-keeper.ts';
import type { ReservationState } from '../core/scsi/reservations.ts';
import { readJsonFile, writeFileAtomic } from '../os/files.ts';

interface Content {
  readonly uuid: string;
  readonly reservations: ReservationState | null;
}

/** The identity and the reservations of one unit. */
export interface UnitFile {
  readonly uuid: string;
  readonly reservations: ReservationStore;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Reads or makes the file of the disk at `path`. Throws CodedError 'bad-input' where there is something else. */
export async function openUnitFile(path: string): Promise<UnitFile> {
  const file = `${path}.unit.json`;
  let content = checked(file, await readJsonFile(file));
  if (content === null) {
    content = { uuid: randomUUID(), reservations: null };
    await writeFileAtomic(file, JSON.stringify(content));
  }
  const { uuid, reservations } = content;
  return {
    uuid,
    reservations: {
      load: () => Promise.resolve(reservations),
      save: (state) => writeFileAtomic(file, JSON.stringify({ uuid, reservations: state })),
    },
  };
}

function checked(file: string, value: unknown): Content | null {
  if (value === undefined) return null;
  const content = value as Partial<Content> | null;
  const { uuid, reservations } = content ?? {};
  const isState =
    reservations === null ||
    (typeof reservations === 'object' &&
      Number.isInteger(reservations.generation) &&
      Array.isArray(reservations.registrations));
  if (typeof uuid === 'string' && UUID.test(uuid) && isState) return { uuid, reservations };
  throw new CodedError('bad-input', `${file} is not the identity and the reservations of a disk.`, {
    advice: 'Nothing was changed. Remove it only if no initiator knows the disk: its identity would change.',
  });
}
