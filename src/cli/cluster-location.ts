/**
 * Finds the cluster that a command is for: --dir, then GP_DIR, then the context file, then the nearest .groundplane
 * directory above the working directory, then the cluster that this machine is a control node of. A cluster's directory
 * holds context.json: {apiUrl, caFile, tokenFile}, and what it has learned since (followed-context.ts).
 */
import { isUtf8 } from 'node:buffer';
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { CodedError } from '../base/errors.ts';
import type { Target } from '../client/client.ts';
import { makePrivateDirectory, readJsonFile, readTextBounded, writeFileAtomic } from '../os/files.ts';
import type { Io } from './io.ts';

export const DEFAULT_DIR = '.groundplane';
/** Where `gp init` puts the administrator's context on a control node (install/units.ts). */
const THIS_MACHINE = '/etc/groundplane/admin';
const SECRET_BYTES_MAX = 64 * 1024;
const OTHERS_MAX = 16;

export interface Location {
  /** Absolute. */
  readonly dir: string;
  readonly foundBy: '--dir' | 'GP_DIR' | 'context file' | 'working directory' | 'this machine';
}

/** How a cluster is reached, and where its files are. */
export interface Context extends Location {
  readonly apiUrl: string;
  readonly caFile: string;
  readonly tokenFile: string;
  /** The API at other control nodes, as far as the context has learned them. */
  readonly others: readonly string[];
  /** The time at which it learned them last, in Unix ms; 0: never. */
  readonly learnedAt: number;
}

/** ~/.config/groundplane/context.json, or below XDG_CONFIG_HOME. */
export function contextFilePath(env: Io['env']): string {
  const config = env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config');
  return join(config, 'groundplane', 'context.json');
}

/** The directory of the cluster that the command is for. `not-found` if nothing points to one. */
export async function locate(io: Pick<Io, 'env' | 'cwd'>, dirOption: string | undefined): Promise<Location> {
  if (dirOption !== undefined) return { dir: resolve(io.cwd, dirOption), foundBy: '--dir' };
  const fromEnv = io.env['GP_DIR'];
  if (fromEnv !== undefined && fromEnv !== '') return { dir: resolve(io.cwd, fromEnv), foundBy: 'GP_DIR' };
  const chosen = await readJsonFile(contextFilePath(io.env));
  if (isRecord(chosen) && typeof chosen['dir'] === 'string') return { dir: chosen['dir'], foundBy: 'context file' };
  for (let at = resolve(io.cwd); ; at = dirname(at)) {
    const dir = join(at, DEFAULT_DIR);
    if (await isDirectory(dir)) return { dir, foundBy: 'working directory' };
    if (dirname(at) === at) break;
  }
  if (await isDirectory(THIS_MACHINE)) return { dir: THIS_MACHINE, foundBy: 'this machine' };
  throw new CodedError('not-found', 'No cluster was found from here.', {
    advice: 'Start one with `gp up`, or name its directory with --dir, GP_DIR or `gp context use DIR`.',
  });
}

/** The context of the cluster that the command is for. `not-found` if its directory has none. */
export async function findContext(io: Pick<Io, 'env' | 'cwd'>, dirOption: string | undefined): Promise<Context> {
  return readContext(await locate(io, dirOption));
}

/** The context in a located directory. */
export async function readContext(location: Location): Promise<Context> {
  const file = join(location.dir, 'context.json');
  const content = await readJsonFile(file);
  if (content === undefined) {
    throw new CodedError('not-found', `There is no cluster in ${location.dir} (by ${location.foundBy}).`, {
      advice: `Start one there with \`gp up --dir ${location.dir}\`, or name another directory.`,
    });
  }
  const field = (name: string): string => {
    const value = isRecord(content) ? content[name] : undefined;
    if (typeof value === 'string' && value !== '') return value;
    throw new CodedError('bad-input', `${file} has no ${name}.`, {
      advice: 'Start the cluster again: `gp up` writes it.',
    });
  };
  return {
    ...location,
    apiUrl: field('apiUrl'),
    caFile: resolve(location.dir, field('caFile')),
    tokenFile: resolve(location.dir, field('tokenFile')),
    ...learnedIn(content),
  };
}

/** Returns the facts that a context has learned; none if they are not in the form that this command writes. */
function learnedIn(content: unknown): Pick<Context, 'others' | 'learnedAt'> {
  const { others, learnedAt } = isRecord(content) ? content : {};
  const isUrl = (value: unknown): value is string => typeof value === 'string' && URL.canParse(value);
  return {
    others: Array.isArray(others) ? others.filter(isUrl).slice(0, OTHERS_MAX) : [],
    learnedAt: typeof learnedAt === 'number' ? learnedAt : 0,
  };
}

/** The context with its secrets read. */
export async function readTarget(context: Context): Promise<Target> {
  const [caPem, token] = await Promise.all([secret(context.caFile), secret(context.tokenFile)]);
  return { apiUrl: context.apiUrl, caPem, token: token.trim() };
}

/** Makes `dir` the cluster of commands without `--dir`. */
export async function useContext(io: Pick<Io, 'env' | 'cwd'>, dir: string): Promise<Context> {
  const context = await readContext({ dir: resolve(io.cwd, dir), foundBy: 'context file' });
  const file = contextFilePath(io.env);
  await makePrivateDirectory(dirname(file));
  await writeFileAtomic(file, `${JSON.stringify({ dir: context.dir }, null, 2)}\n`);
  return context;
}

async function secret(file: string): Promise<string> {
  const text = await readTextBounded(file, SECRET_BYTES_MAX);
  if (text === undefined) {
    throw new CodedError('not-found', `${file} is missing.`, { advice: 'Start the cluster again: `gp up` writes it.' });
  }
  return text;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Reads a guest's file that the command line names: as text if it is UTF-8, otherwise as bytes. The API limits its
 * size.
 */
export async function readGuestFile(io: Pick<Io, 'cwd'>, path: string): Promise<string | { readonly base64: string }> {
  try {
    const bytes = await readFile(resolve(io.cwd, path));
    return isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') };
  } catch (error) {
    throw cannotRead(path, error);
  }
}

/** The error for a file that cannot be read. */
export function cannotRead(path: string, cause: unknown): CodedError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : '';
  const why =
    code === 'ENOENT'
      ? 'does not exist'
      : code === 'EACCES'
        ? 'may not be read'
        : code === 'EISDIR'
          ? 'is a directory'
          : 'cannot be read';
  return new CodedError('bad-input', `The file ${path} ${why}.`, { cause, advice: 'Nothing was changed.' });
}
