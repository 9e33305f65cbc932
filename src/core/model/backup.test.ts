import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BACKUP_EVERY_MS,
  backupFileName,
  backupFinding,
  oldestFirst,
  parseBackupFileName,
  type StoredBackup,
  superfluousBackups,
} from './backup.ts';

const NOW = Date.parse('2026-11-30T18:43:01.250Z');

test('the name of a backup says by whom, when and of which revision it is, to the second', () => {
  const file = backupFileName({ control: 'c-1', takenAt: NOW, revision: 42 });
  assert.equal(file, 'c-1-20261130T184301Z-r42.gpbackup');
  assert.deepEqual(parseBackupFileName(file), { control: 'c-1', takenAt: NOW - 250, revision: 42 });
  for (const other of ['', 'c1.gpbackup', `${file}.tmp`, file.replace('1130', '1399'), file.replace('c-1', '../c')])
    assert.equal(parseBackupFileName(other), null, other);
});

test('the oldest backups go where there are too many, or too many bytes; the newest stays whatever its size', () => {
  const backup = (hour: number, sizeBytes: number): StoredBackup => {
    const name = { control: 'c1', takenAt: NOW + hour * 3_600_000, revision: hour };
    return { ...name, file: backupFileName(name), sizeBytes };
  };
  const gone = (sizes: readonly number[], limits: { keep: number; bytesMax: number }): number[] =>
    superfluousBackups(
      sizes.map((size, hour) => backup(hour, size)),
      { ...limits, now: NOW + 24 * 3_600_000 },
    ).map(({ revision }) => revision);
  assert.deepEqual(gone([1, 1, 1, 1], { keep: 2, bytesMax: 100 }), [0, 1]);
  assert.deepEqual(gone([1, 60, 30, 20], { keep: 9, bytesMax: 100 }), [0, 1]);
  assert.deepEqual(gone([1, 500], { keep: 9, bytesMax: 100 }), [0]);
  assert.deepEqual(gone([], { keep: 1, bytesMax: 1 }), []);
});

test('a backup of a time to come counts as the oldest: it replaces none of those that are right', () => {
  const backups = [-1, 0, 48, 49].map((hour): StoredBackup => {
    const name = { control: 'c1', takenAt: NOW + hour * 3_600_000, revision: 100 + hour };
    return { ...name, file: backupFileName(name), sizeBytes: 1 };
  });
  const hours = (of: readonly StoredBackup[]): number[] => of.map(({ revision }) => revision - 100);
  assert.deepEqual(hours(oldestFirst(backups, NOW)), [48, 49, -1, 0]);
  assert.deepEqual(hours(superfluousBackups(backups, { keep: 2, bytesMax: 100, now: NOW })), [48, 49]);
});

test('three hours without a new backup are told of, with the reason; a server that has just begun is not late', () => {
  const state = { place: 'local', where: '/var/lib/x', lastAt: NOW, failure: null, since: NOW } as const;
  assert.equal(backupFinding('c1', state, NOW + 3 * BACKUP_EVERY_MS - 1), null);
  assert.equal(backupFinding('c1', { ...state, since: NOW + BACKUP_EVERY_MS }, NOW + 3 * BACKUP_EVERY_MS), null);
  const failure = { at: NOW, message: 'The disk is full.' };
  const finding = backupFinding('c1', { ...state, failure }, NOW + 3 * BACKUP_EVERY_MS) ?? '';
  assert.match(finding, /c1 has not made since 2026-11-30T18:43:01.250Z a backup .* The disk is full\.$/);
  assert.match(backupFinding('c1', { ...state, lastAt: null }, NOW + 3 * BACKUP_EVERY_MS) ?? '', /has never made/);
});
