/**
 * A context that follows its cluster: control nodes come and go, and the authority changes, while people keep the
 * context that they were given once.
 *
 * Guarantees: a command is sent to a control node that says that it is well, where the context knows more than one; at
 * most once an hour, after a command that succeeded, the context learns the control nodes and the trusted authorities
 * from a node that its present authority vouches for; learning takes two seconds at most and fails no command; a
 * cluster on one machine (`gp up`), whose control nodes are not reached by their addresses, is left as it is.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { type ApiClient, createClient, type Target } from '../client/client.ts';
import { PORTS } from '../core/model/ports.ts';
import { withDeadline } from '../os/deadline.ts';
import { readJsonFile, writeFileAtomic } from '../os/files.ts';
import { type Context, readTarget } from './cluster-location.ts';

/** A control node that was reached; `client` is to be closed. */
export interface Reached {
  readonly target: Target;
  readonly client: ApiClient;
}

const WELL_MS = 2_000;
const LEARN_MS = 2_000;
const LEARN_EVERY_MS = 60 * 60_000;

/** Returns a client of the first control node of the context that is well; of the context's own where none is. */
export async function reach(context: Context, signal: AbortSignal): Promise<Reached> {
  const own = await readTarget(context);
  if (context.others.length > 0) {
    for (const apiUrl of [own.apiUrl, ...context.others]) {
      const target = { ...own, apiUrl };
      const client = createClient(target);
      if (await isWell(client, signal)) return { target, client };
      await client.close();
      signal.throwIfAborted();
    }
  }
  return { target: own, client: createClient(own) };
}

async function isWell(client: ApiClient, signal: AbortSignal): Promise<boolean> {
  const ask = (ended: AbortSignal) => client.call(client.http.GET('/healthz', { signal: ended }));
  try {
    return (await withDeadline(ask, { deadlineMs: WELL_MS, signal, what: 'the health of a control node' })).ok;
  } catch (error) {
    if (error instanceof CodedError) return false;
    throw error;
  }
}

/** Brings the files of a context up to date, if it is time to; see the module. Never rejects. */
export async function learn(context: Context, { client, target }: Reached, nowMs: number): Promise<void> {
  const isFresh = nowMs - context.learnedAt < LEARN_EVERY_MS && nowMs >= context.learnedAt;
  if (isFresh && target.apiUrl === context.apiUrl) return;
  if (!isOnControlPort(target.apiUrl)) return;
  const ask = (signal: AbortSignal) =>
    Promise.all([
      client.list('/v1/control-nodes', { signal }),
      client.call(client.http.GET('/v1/authority', { signal })),
    ]);
  try {
    const [nodes, { caPem }] = await withDeadline(ask, { deadlineMs: LEARN_MS, what: 'the control nodes' });
    const urls = nodes.map(({ address }) => `https://${address}:${PORTS.control}`);
    // By a name, or through something in between: the addresses mean nothing here.
    if (!urls.includes(target.apiUrl)) return;
    const file = join(context.dir, 'context.json');
    const others = urls.filter((url) => url !== target.apiUrl);
    const kept = await readJsonFile(file);
    // `gp leave` has taken it away.
    if (typeof kept !== 'object' || kept === null) return;
    if (caPem !== target.caPem) await replace(context.caFile, caPem);
    const next = { ...kept, apiUrl: target.apiUrl, others, learnedAt: nowMs };
    await replace(file, `${JSON.stringify(next, null, 2)}\n`);
  } catch {
    // The context stays as it is: the next command tries again.
  }
}

/** Replaces a file that several users may share: its owner, its group and its mode stay. */
async function replace(path: string, content: string): Promise<void> {
  const { uid, gid, mode } = await stat(path);
  await writeFileAtomic(path, content, { owner: { uid, gid }, mode: mode & 0o777 });
}

function isOnControlPort(apiUrl: string): boolean {
  const { hostname, port } = new URL(apiUrl);
  return port === String(PORTS.control) && !hostname.startsWith('127.');
}
