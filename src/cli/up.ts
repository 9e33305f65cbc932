/** `gp up` and `gp down`: the one-machine cluster, with a network and an image to begin with. */
import { resolve } from 'node:path';
import { CodedError, messageOf } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { ApiClient } from '../client/client.ts';
import type { LabInfo } from '../lab/outer.ts';
import { down, up } from '../lab/up.ts';
import { imageCacheDir, importTiny } from './builtin-images.ts';
import { DEFAULT_DIR, locate, readContext, readTarget } from './cluster-location.ts';
import { Interrupted } from './exit-codes.ts';
import type { Io } from './io.ts';
import { present, type Session } from './session.ts';
import { logInLink } from './ui.ts';

export const FIRST_NETWORK = { name: 'lan', cidr: '10.20.0.0/24', dhcp: true, nat: true } as const;
const FIRST_IMAGE = 'tiny';
const DEFAULT_PORT = 7440;

export interface UpFlags {
  readonly hosts?: number;
  readonly controlNodes?: number;
  readonly storageNodes?: number;
  readonly hostMemory?: number;
  readonly apiPort?: number;
  readonly outside?: true;
  readonly detach?: true;
}

/** Runs a cluster until Ctrl-C or `gp down`; with `detach`, until `gp down`. */
export async function runUp(session: Session, flags: UpFlags): Promise<void> {
  const { io } = session;
  const dir = upDir(io, session.options.dir);
  const started = await up({
    dir,
    ...present({
      hosts: flags.hosts,
      controlNodes: flags.controlNodes,
      storageNodes: flags.storageNodes,
      hostMemoryBytes: flags.hostMemory,
      apiPort: flags.apiPort,
      outside: flags.outside,
      detach: flags.detach,
    }),
    onProgress: ({ step, of, message }) => progress(io, `[${step}/${of}] ${message}`),
    signal: io.signal,
    killSignal: io.killSignal,
  }).catch((error: unknown) => {
    if (io.signal.aborted) throw new Interrupted('Interrupted while starting; nothing is left running.');
    throw error;
  });
  clearProgress(io);
  const link = await furnish(io, dir);
  if (!(await session.printedAsData(started.info)))
    io.out(welcome(io, started.info, { ...flags, dirOption: session.options.dir, link }));
  if (flags.detach) return;
  const { asked } = await started.ended;
  if (!asked) {
    throw new CodedError('failed', `The cluster in ${dir} ended by itself.`, {
      advice: `Its state is kept. ${dir}/machines/*/log say why; \`gp up\` starts it again.`,
    });
  }
  session.say(`The cluster has ended; its state is kept in ${dir}.`);
}

/** Ends the cluster that the command is for. */
export async function runDown(session: Session): Promise<void> {
  const { dir } = await locate(session.io, session.options.dir);
  const { ended } = await down({ dir, signal: session.io.signal });
  if (await session.printedAsData({ dir, ended })) return;
  session.say(ended ? `The cluster has ended; its state is kept in ${dir}.` : `No cluster runs in ${dir}.`);
}

/** Where `gp up` makes its cluster: only where somebody says so, never where a context file points. */
function upDir(io: Io, option: string | undefined): string {
  return resolve(io.cwd, option ?? (io.env['GP_DIR'] || DEFAULT_DIR));
}

/**
 * The first network and image, where they are missing. A cluster without them is a cluster nevertheless: a warning, no
 * failure. Returns a one-time link to the web interface; null if none could be made.
 */
export async function furnish(io: Io, dir: string): Promise<string | null> {
  const { createClient } = await import('../client/client.ts');
  const target = await readTarget(await readContext({ dir, foundBy: '--dir' }));
  const client = createClient(target);
  try {
    await unlessThere(io, 'network', FIRST_NETWORK.name, () => firstNetwork(client));
    await unlessThere(io, 'image', FIRST_IMAGE, () => firstImage(io, client, dir));
    return await logInLink(client, target).catch((error: unknown) => {
      if (!io.signal.aborted) io.err(`gp: No link to the web interface was made: ${printable(messageOf(error))}\n`);
      return null;
    });
  } finally {
    clearProgress(io);
    await client.close();
  }
}

async function unlessThere(io: Io, what: string, name: string, make: () => Promise<void>): Promise<void> {
  if (io.signal.aborted) return;
  try {
    await make();
  } catch (error) {
    if (error instanceof CodedError && error.code === 'exists') return;
    clearProgress(io);
    if (!io.signal.aborted) io.err(`gp: The ${what} ${name} could not be made: ${printable(messageOf(error))}\n`);
  }
}

async function firstNetwork(client: ApiClient): Promise<void> {
  const networks = await client.list('/v1/networks');
  if (networks.some(({ name }) => name === FIRST_NETWORK.name)) return;
  await client.call(client.http.POST('/v1/networks', { body: FIRST_NETWORK }));
}

async function firstImage(io: Io, client: ApiClient, dir: string): Promise<void> {
  const images = await client.list('/v1/images');
  if (images.some(({ name }) => name === FIRST_IMAGE)) return;
  const onProgress = (line: string): void => progress(io, `image ${FIRST_IMAGE}: ${line}`);
  await importTiny({ io, client, name: FIRST_IMAGE, cacheDir: imageCacheDir(io, dir), onProgress });
}

function welcome(
  io: Io,
  info: LabInfo,
  flags: UpFlags & { readonly dirOption: string | undefined; readonly link: string | null },
): string {
  const { dirOption, link } = flags;
  const gp = `${io.env['npm_execpath'] === undefined ? 'gp' : 'npx gp'}${dirOption === undefined ? '' : ` --dir ${dirOption}`}`;
  const { hosts, controlNodes, storageNodes } = info.shape;
  const port = info.apiPort === DEFAULT_PORT || flags.apiPort !== undefined ? '' : ` (port ${DEFAULT_PORT} was taken)`;
  return [
    ...(link === null ? [] : [`Open  ${link}  (once; \`${gp} ui\` makes another link)`, '']),
    `Groundplane runs in ${info.dir}: hosts ${hosts}, control nodes ${controlNodes}, storage nodes ${storageNodes}; started in ${(info.startMs / 1_000).toFixed(1)} s.`,
    '',
    `  API    ${info.apiUrl}${port}`,
    `  token  ${info.tokenFile}`,
    `  CA     ${info.caFile}`,
    '',
    'Try:',
    `  ${gp} vm create web1 --image ${FIRST_IMAGE} --network ${FIRST_NETWORK.name}`,
    `  ${gp} vm list`,
    `  ${gp} vm migrate web1`,
    '',
    flags.detach
      ? `\`${gp} down\` ends it; its state is kept.`
      : `Ctrl-C or \`${gp} down\` ends it; its state is kept.`,
    '',
  ].join('\n');
}

/** On a terminal one line that changes; elsewhere one line per step. */
function progress(io: Io, text: string): void {
  io.err(io.errIsTty ? `\r\u001b[K${text}` : `${text}\n`);
}

function clearProgress(io: Io): void {
  if (io.errIsTty) io.err('\r\u001b[K');
}
