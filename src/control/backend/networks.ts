/** Networks through the API. */
import type { CreateNetwork, PageQuery, PatchNetwork } from '../../api/requests.ts';
import type { Network } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import type { NetworkRecord } from '../../core/model/cluster.ts';
import type { Entry } from '../../core/ports/store.ts';
import { createNetwork, deleteNetwork, patchNetwork } from '../../core/request/networks.ts';
import type { Call, Conditional } from '../api/call.ts';
import type { Page } from '../api/pages.ts';
import { change } from './changes.ts';
import type { BackendContext } from './context.ts';
import { pageOfTable } from './table-page.ts';
import { networkView } from './views.ts';

/** Networks, each with a VXLAN identifier of its own; one in use cannot be deleted. */
export class NetworksBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Network>> {
    return pageOfTable(this.#context.store.networks, query, {
      signal,
      view: (entry) => networkView(this.#context, entry),
    });
  }

  get(name: string): Network {
    return networkView(this.#context, this.#find(name));
  }

  async create(request: CreateNetwork): Promise<Network> {
    this.#context.etcdSpace.demandRoom();
    return this.get(await change(this.#context, (basis) => createNetwork(basis, request)));
  }

  /** Changes what it offers its guests. */
  async patch(name: string, patch: PatchNetwork & Conditional): Promise<Network> {
    return this.get(await change(this.#context, (basis) => patchNetwork(basis, name, patch)));
  }

  /** CodedError 'conflict' while a VM uses it. */
  async delete(name: string, condition: Conditional): Promise<void> {
    await change(this.#context, (basis) => deleteNetwork(basis, name, condition));
  }

  #find(name: string): Entry<NetworkRecord> {
    const entry = this.#context.store.networks.get(name);
    if (entry === undefined)
      throw new CodedError('not-found', `There is no network ${name}.`, {
        advice: 'List them with "gp network list".',
      });
    return entry;
  }
}
