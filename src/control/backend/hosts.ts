/** Hosts through the API: their views. Requests about them are decided in core/request. */
import type { HostLoss } from '../../api/loss-views.ts';
import type { DeleteHostQuery, HostQuery, PatchHost } from '../../api/requests.ts';
import type { Host } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import { listed } from '../../base/listed.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import type { Entry } from '../../core/ports/store.ts';
import { undrainHost } from '../../core/request/drains.ts';
import { type HostRemoval, removeHost } from '../../core/request/host-removal.ts';
import { changeHost } from '../../core/request/hosts.ts';
import type { Call, Conditional } from '../api/call.ts';
import type { Page } from '../api/pages.ts';
import { change } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';
import { pageOfTable } from './table-page.ts';
import { hostView } from './views.ts';

/** Hosts; they join by a token (access.ts) and are drained through drains.ts. */
export class HostsBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  list(query: HostQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Host>> {
    const observer = this.#context.leading()?.controller.observer;
    const view = (entry: Entry<HostRecord>): Host | null => {
      if (query.rack !== undefined && entry.value.rack !== query.rack) return null;
      if (query.cordoned !== undefined && entry.value.cordoned !== query.cordoned) return null;
      const agent = observer?.see(entry.value.name).agent === 'alive' ? 'alive' : 'dead';
      if (query.agent !== undefined && agent !== query.agent) return null;
      return hostView(this.#context, entry);
    };
    return pageOfTable(this.#context.store.hosts, query, { signal, view });
  }

  get(name: string): Host {
    return hostView(this.#context, this.#find(name));
  }

  async patch(name: string, patch: PatchHost & Conditional): Promise<Host> {
    await change(this.#context, (basis) => changeHost(basis, { name, ...patch }));
    return this.get(name);
  }

  /**
   * Removes a host that is empty, or declares one lost (`query.lost`, `query.confirmed`): the leader removes its record
   * once its VMs are fenced. Errors as `removeHost`.
   */
  async delete(
    name: string,
    { lost = false, confirmed = false, ifMatch }: DeleteHostQuery & Conditional,
    { principal }: Pick<Call, 'principal'>,
  ): Promise<HostLoss> {
    const removal: HostRemoval = { name, ifMatch, isLost: lost, isConfirmed: confirmed, by: principal.name };
    const done = await change(this.#context, (basis) => removeHost(basis, observedBy(this.#context), removal));
    const { host, isRemoved, vmCount, vms } = done;
    return { host, removed: isRemoved, vmCount, vms: vms.map((each) => ({ ...each })) };
  }

  /** VMs are placed on the host again, after a drain. */
  async undrain(name: string): Promise<Host> {
    await change(this.#context, (basis) => undrainHost(basis, name));
    return this.get(name);
  }

  #find(name: string): Entry<HostRecord> {
    const entry = this.#context.store.hosts.get(name);
    if (entry === undefined) {
      const known = listed([...this.#context.store.hosts.keys()].sort());
      throw new CodedError('not-found', `There is no host ${name}.`, {
        advice: known === '' ? 'No host has joined.' : `Hosts: ${known}.`,
      });
    }
    return entry;
  }
}
