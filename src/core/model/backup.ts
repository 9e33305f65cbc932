/**
 * Backups of the cluster's records that control nodes make by themselves: names of their files, how they are, and what
 * is told of them. Pure.
 */

/** Where a control node keeps backups: in its own state directory, and copies in another directory and in S3. */
export type BackupPlaceKind = 'local' | 'directory' | 's3';

/** A backup, as its file's name tells. */
export interface BackupName {
  /** The control node that made it. */
  readonly control: string;
  /** Unix ms, whole seconds. */
  readonly takenAt: number;
  /** etcd's revision of its records. */
  readonly revision: number;
}

/** A backup that is kept somewhere. */
export interface StoredBackup extends BackupName {
  readonly file: string;
  readonly sizeBytes: number;
}

/** How the backups of one control node at one place are. Times are Unix ms. */
export interface BackupPlaceState {
  readonly place: BackupPlaceKind;
  /** The directory, or `s3://BUCKET/PREFIX`. */
  readonly where: string;
  /** When the newest backup there was taken; null: there is none. */
  readonly lastAt: number | null;
  /** The last attempt, where it failed. */
  readonly failure: { readonly at: number; readonly message: string } | null;
  /** Since when the server runs that makes them. */
  readonly since: number;
}

/** The same, with the backups themselves, oldest first. */
export interface BackupPlaceList extends BackupPlaceState {
  readonly backups: readonly StoredBackup[];
}

/** The pause between two backups, in ms. */
export const BACKUP_EVERY_MS = 3_600_000;
/** Backups that are kept at each place, where nothing else is said. */
export const BACKUPS_KEPT = 48;
export const BACKUPS_KEPT_MAX = 500;
/** Backups of a place that are told of: those that are kept, and some that are to be deleted. */
export const BACKUPS_SHOWN_MAX = 2 * BACKUPS_KEPT_MAX;
/** Bytes that all of them may have at each place, where nothing else is said. */
export const BACKUP_BYTES_MAX = 2 * 1024 ** 3;
/** The longest failure that is told of; the rest is cut off. */
export const BACKUP_FAILURE_CHARS_MAX = 2_000;
/** After so long without a new backup there is an alarm. */
const BACKUP_OLD_MS = 3 * BACKUP_EVERY_MS;

const SUFFIX = '.gpbackup';
const NAME = /^([a-z0-9][a-z0-9-]{0,62})-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-r(\d{1,15})\.gpbackup$/;

/** Returns the file name of a backup; names of one control node sort by time. */
export function backupFileName({ control, takenAt, revision }: BackupName): string {
  const time = new Date(takenAt).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  return `${control}-${time}-r${revision}${SUFFIX}`;
}

/** Reads the name of a file; null where it is none of a backup. */
export function parseBackupFileName(file: string): BackupName | null {
  const match = NAME.exec(file);
  if (match === null) return null;
  const [, control = '', year, month, day, hours, minutes, seconds, revision] = match;
  const takenAt = Date.parse(`${year}-${month}-${day}T${hours}:${minutes}:${seconds}Z`);
  return Number.isNaN(takenAt) ? null : { control, takenAt, revision: Number(revision) };
}

/**
 * Returns the backups, oldest first. Those of a time that is still to come were made by a clock that was wrong: they
 * count as the oldest, so that they replace nothing.
 */
export function oldestFirst(backups: readonly StoredBackup[], now: number): readonly StoredBackup[] {
  const rank = ({ takenAt }: StoredBackup): number => (takenAt > now ? 0 : 1);
  return backups.toSorted((a, b) => rank(a) - rank(b) || a.takenAt - b.takenAt);
}

/** Returns the backups that are too many, or too large together, oldest first. The newest one always stays. */
export function superfluousBackups(
  backups: readonly StoredBackup[],
  { keep, bytesMax, now }: { readonly keep: number; readonly bytesMax: number; readonly now: number },
): readonly StoredBackup[] {
  const newestFirst = oldestFirst(backups, now).toReversed();
  let bytes = 0;
  let kept = 0;
  const superfluous: StoredBackup[] = [];
  for (const backup of newestFirst) {
    bytes += backup.sizeBytes;
    if (kept > 0 && (kept >= keep || bytes > bytesMax || superfluous.length > 0)) superfluous.push(backup);
    else kept++;
  }
  return superfluous.reverse();
}

/** Says that a place has had no new backup for too long, and why; null while all is well. */
export function backupFinding(
  control: string,
  { place, where, lastAt, failure, since }: BackupPlaceState,
  now: number,
): string | null {
  if (now - Math.max(since, lastAt ?? 0) < BACKUP_OLD_MS) return null;
  const last = lastAt === null ? 'has never made' : `has not made since ${new Date(lastAt).toISOString()}`;
  const why = failure === null ? '' : ` ${failure.message}`;
  return `Control node ${control} ${last} a backup of the cluster’s records in ${where} (${place}).${why}`;
}
