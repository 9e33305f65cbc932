/**
 * A real one-machine cluster of three hosts with real VMs under software emulation. Guarantees: the browser takes the
 * certificate of this cluster's control node and no other; `end` leaves nothing of the cluster.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { clientTls, type Target } from '../../src/client/client.ts';
import { withDeadline } from '../../src/os/deadline.ts';
import { untilVm } from '../acceptance/case.ts';
import { Guest } from '../acceptance/guest.ts';
import { StoryCluster } from '../stories/story-cluster.ts';
import type { Colour, World } from './world.ts';

const MIB = 2 ** 20;
const CONNECT_MS = 10_000;
/** Two processors emulate all guests, and run the browser besides. */
const SHOW_MS = 60_000;
const WEB_VMS = ['web1', 'web2', 'web4'];
const DB_VM = 'web3';
/** Colours of the guest's text console (of 6 bits, as VGA has them), and the escape sequences that fill its screen. */
const PAINTS: readonly (readonly [Colour, string])[] = [
  [[0, 0, 168], '44'],
  [[0, 168, 0], '42'],
  [[168, 0, 0], '41'],
  [[0, 168, 168], '46'],
];

/** One real cluster. */
export class RealWorld implements World {
  readonly cluster: StoryCluster;
  readonly origin: string;
  readonly link: string;
  readonly token: string;
  readonly api: World['api'];
  readonly browserArguments: readonly string[];
  readonly showMs = SHOW_MS;
  readonly movesAreSeen = true;
  readonly webVms = WEB_VMS;
  readonly dbVm = DB_VM;
  readonly guestSystem = 'Groundplane tiny';

  private constructor(cluster: StoryCluster, { link, key }: { readonly link: URL; readonly key: string }) {
    const { apiUrl, token, caPem } = cluster.target;
    this.cluster = cluster;
    this.origin = link.origin;
    this.link = link.pathname + link.hash;
    this.token = token;
    this.api = { origin: new URL(apiUrl).origin, token, caPem };
    this.browserArguments = [`--ignore-certificate-errors-spki-list=${key}`];
  }

  /** Starts the cluster, and its VMs unless told. */
  static async start({ hasVms = true } = {}): Promise<RealWorld> {
    const cluster = await StoryCluster.start({ hosts: 3, controlNodes: 1, storageNodes: 1 });
    try {
      const [link, key] = [await linkOf(cluster), await publicKeyOf(cluster.target)];
      const names = hasVms ? [...WEB_VMS, DB_VM] : [];
      await Promise.all(names.map((name) => createVm(cluster, name)));
      for (const name of names) await untilVm(cluster, name, { verdict: 'running' });
      return new RealWorld(cluster, { link, key });
    } catch (error) {
      const words = await cluster.lastWords();
      await cluster.end();
      throw new Error(`The cluster cannot be used.\n${words}`, { cause: error });
    }
  }

  talk(_vm: string, turn: number) {
    // Typed and printed differ, because the line is echoed.
    return { typed: `echo sum$((${turn}+40))`, answered: new RegExp(`sum${turn + 40}\\b`) };
  }

  /** A shell reads from the display's keyboard; the screen is of one colour. */
  async draw(vm: string, turn: 0 | 1) {
    const [before, after] = PAINTS.slice(2 * turn, 2 * turn + 2);
    if (before === undefined || after === undefined) throw new Error('Not enough colours.');
    const guest = await Guest.open(this.cluster, vm);
    try {
      if (turn === 0) await guest.run("(setsid sh -c 'exec sh </dev/tty1 >/dev/tty1 2>&1' &)");
      await guest.run(`printf '\\033[${before[1]}m\\033[2J' >/dev/tty1`);
    } finally {
      guest.close();
    }
    // Without capitals: the browser's driver types them without the shift key, which the guest would need.
    return { before: before[0], keys: `printf '\\033[${after[1]}m';clear\n`, after: after[0] };
  }

  async fault(words: string): Promise<void> {
    const [verb = '', target] = words.split(' ');
    await this.cluster.lab(verb, target === undefined ? {} : { target });
  }

  async holdDeletions(isHeld: boolean): Promise<void> {
    if (isHeld) await this.cluster.lab('kill-storage', { target: 's1', serviceOnly: true });
    else await this.cluster.lab('restore', { target: 's1' });
  }

  async freeze(isFrozen: boolean): Promise<void> {
    await this.cluster.lab(isFrozen ? 'freeze-server' : 'thaw', { target: 'c1' });
  }

  end(): Promise<void> {
    return this.cluster.end();
  }
}

async function createVm(cluster: StoryCluster, name: string): Promise<void> {
  const { client } = cluster;
  const labels = { tier: name === DB_VM ? 'db' : 'web' };
  const body = { name, image: 'tiny', networks: ['lan'], memoryBytes: 96 * MIB, labels };
  await client.call(client.http.POST('/v1/vms', { body }));
}

/** The link that `gp ui` prints. */
async function linkOf(cluster: StoryCluster): Promise<URL> {
  const { exitCode, stdout, stderr } = await cluster.gp(['ui']);
  if (exitCode !== 0) throw new Error(`gp ui: ${stderr}`);
  return new URL(stdout.trim());
}

/** SHA-256 of the public key that the control node shows to browsers, as Chromium takes it. */
function publicKeyOf({ apiUrl, caPem }: Target): Promise<string> {
  const { hostname, port } = new URL(apiUrl);
  const asked = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), ...clientTls(caPem) });
      socket.once('secureConnect', () => {
        const { publicKey } = new X509Certificate(socket.getPeerCertificate().raw);
        resolve(
          createHash('sha256')
            .update(publicKey.export({ type: 'spki', format: 'der' }))
            .digest('base64'),
        );
        socket.destroy();
      });
      socket.once('error', reject);
    });
  return withDeadline(asked, { deadlineMs: CONNECT_MS, what: `the certificate of ${apiUrl}` });
}
