/** What the API answers about backups of the cluster's records. */
import { Type } from 'typebox';
import { nullable, oneOf, strict, type View } from './common.ts';

const text = Type.String();
const time = Type.String({ description: 'RFC 3339 time in UTC with milliseconds' });
const place = {
  controlNode: text,
  place: oneOf(['local', 'directory', 's3']),
  where: Type.String({ description: 'the directory, or s3://BUCKET/PREFIX' }),
};

export const BackupSchema = Type.Object(
  {
    ...place,
    file: text,
    takenAt: time,
    sizeBytes: Type.Integer({ minimum: 0 }),
    revision: Type.Integer({ description: 'etcd’s revision of its records' }),
  },
  { ...strict, title: 'Backup', description: 'a backup of the cluster’s records that a control node keeps' },
);
export type Backup = View<typeof BackupSchema>;

export const BackupStateSchema = Type.Object(
  {
    ...place,
    lastAt: nullable(time),
    failure: nullable(
      Type.Object({ at: time, message: text }, { ...strict, description: 'the last attempt, if it failed' }),
    ),
  },
  { ...strict, title: 'BackupState', description: 'how the backups of a control node at one place are' },
);
export type BackupState = View<typeof BackupStateSchema>;
