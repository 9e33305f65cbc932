/** Files that people name, read as a whole: text of a bounded size. */
import { readFile } from 'node:fs/promises';
import { CodedError, messageOf } from '../base/errors.ts';

const FILE_BYTES_MAX = 64 * 1024 * 1024;

/** Returns the file. CodedError 'bad-input' if it cannot be read, 'too-large' if it is no such file. */
export async function readWhole(path: string): Promise<string> {
  const content = await readFile(path).catch((error: unknown) => {
    throw new CodedError('bad-input', `${path} cannot be read: ${messageOf(error)}.`, {
      advice: 'Nothing was changed.',
      cause: error,
    });
  });
  if (content.length <= FILE_BYTES_MAX) return content.toString('utf8');
  throw new CodedError('too-large', `${path} has more than ${FILE_BYTES_MAX} bytes.`, {
    advice: 'Nothing was changed.',
  });
}
