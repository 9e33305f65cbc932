/** Cached RPC clients, one per peer; a peer whose address changed gets a new one. */

import { commonName } from '../../base/identity.ts';
import type { Credentials } from '../../pki/credentials.ts';
import { RpcClient, type RpcTarget } from '../../rpc/client.ts';

/** The clients of one process, from the first call to `close`. */
export class RpcClients {
  readonly #credentials: Credentials;
  readonly #clients = new Map<string, { readonly at: string; readonly client: RpcClient }>();

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /** The client of exactly this peer at this address. */
  to(target: RpcTarget): RpcClient {
    const name = commonName(target.identity);
    const at = `${target.address}:${target.port}`;
    const known = this.#clients.get(name);
    if (known !== undefined && known.at === at) return known.client;
    known?.client.close();
    const client = new RpcClient({ credentials: this.#credentials, target, connectionsMax: 32 });
    this.#clients.set(name, { at, client });
    return client;
  }

  close(): void {
    for (const { client } of this.#clients.values()) client.close();
    this.#clients.clear();
  }
}
