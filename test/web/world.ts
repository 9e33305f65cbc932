/**
 * The cluster that a browser is put in front of: a simulated one behind the real API, or a real one with real VMs. What
 * people see of both is the same; what a guest says and draws is not, so a world says what its guests do.
 */
import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import { clientTls } from '../../src/client/client.ts';

/** Red, green and blue, 0 to 255 each. */
export type Colour = readonly [number, number, number];

/** What is typed on a guest's serial console, and what the guest then prints. */
export interface Talk {
  readonly typed: string;
  readonly answered: RegExp;
}

/** What a guest draws on its display before and after keys are typed. */
export interface Drawing {
  /** The colour of most of the picture. */
  readonly before: Colour;
  readonly keys: string;
  readonly after: Colour;
}

/** A cluster of at least three hosts with the image `tiny`, the network `lan`, and VMs that run. */
export interface World {
  /** Address of the interface, without a path. */
  readonly origin: string;
  /** Path of a link that logs in once. */
  readonly link: string;
  readonly token: string;
  /** How a program asks the API. */
  readonly api: Api;
  /** What Chromium is started with to take the cluster's certificate. */
  readonly browserArguments: readonly string[];
  /** Longest time that a page may take to show something, in ms. */
  readonly showMs: number;
  /** Moves take long enough for a page to show them while they are under way. */
  readonly movesAreSeen: boolean;
  /** Names of the VMs of tier `web`. */
  readonly webVms: readonly string[];
  /** A VM of tier `db`: nothing stops it. */
  readonly dbVm: string;
  /** The system that guests say they are. */
  readonly guestSystem: string;
  /** What answers on the serial console of a VM; `turn`: another one for each number. */
  talk(vm: string, turn: number): Talk;
  /** Has the guest of a VM with a display draw; `turn`: another picture for each of 0 and 1. */
  draw(vm: string, turn: 0 | 1): Promise<Drawing>;
  /** A fault, as the words of `gp lab`: `kill-host h2`. */
  fault(words: string): Promise<void>;
  /** Has every storage node take no order, or take orders again; disks are served all the same. */
  holdDeletions(isHeld: boolean): Promise<void>;
  /** Freezes the server, or lets it continue: its connections stay open and silent. */
  freeze(isFrozen: boolean): Promise<void>;
  end(): Promise<void>;
}

/** Where the API is, and who asks. */
export interface Api {
  readonly origin: string;
  readonly token: string;
  /** The cluster's authority; null: plain HTTP. */
  readonly caPem: string | null;
}

const ASK_MS = 60_000;

/** One request of a program beside the browser: the answer's JSON. Throws where it is refused. */
export async function askApi(
  { origin, token, caPem }: Api,
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  body?: object,
): Promise<unknown> {
  const content = body === undefined ? null : JSON.stringify(body);
  const headers = {
    authorization: `Bearer ${token}`,
    ...(content === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) }),
  };
  const options = { method, headers, agent: false, signal: AbortSignal.timeout(ASK_MS) } as const;
  const answered = await new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
    const asked =
      caPem === null
        ? plainRequest(origin + path, options)
        : tlsRequest(origin + path, { ...options, ...clientTls(caPem) });
    asked.once('response', (answer) => {
      const status = answer.statusCode ?? 0;
      text(answer).then((said) => resolve({ status, text: said }), reject);
    });
    asked.once('error', reject);
    asked.end(content ?? undefined);
  });
  if (answered.status >= 300) throw new Error(`${method} ${path}: ${answered.status} ${answered.text}`);
  return answered.text === '' ? null : JSON.parse(answered.text);
}
