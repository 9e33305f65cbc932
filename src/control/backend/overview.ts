/**
 * Views for pictures and buttons: every host and VM in small rows, and the actions that one thing allows. Guarantees: a
 * page of rows is read from tables and indexes that are kept, in turns of some milliseconds.
 */
import type { AllowedActions, HostRow, VmRow } from '../../api/overview-views.ts';
import { ROWS_MAX } from '../../api/page-size.ts';
import type { RowQuery } from '../../api/requests.ts';
import type { HostRecord } from '../../core/model/cluster.ts';
import { affinityGroup, currentIncarnation } from '../../core/model/vm.ts';
import type { Entry } from '../../core/ports/store.ts';
import { allowedActions } from '../../core/request/allowed.ts';
import type { Call } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { basisOf } from './changes.ts';
import { type BackendContext, observedBy } from './context.ts';
import { verdictOfHost } from './evacuability-views.ts';
import { indexOfStore } from './records-index.ts';
import { pageOfTable } from './table-page.ts';
import { verdictOf } from './views.ts';

/** See the module's comment. */
export class OverviewBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  hosts({ limit = ROWS_MAX, ...query }: RowQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<HostRow>> {
    const view = (entry: Entry<HostRecord>): HostRow => this.#hostRow(entry.value);
    return pageOfTable(this.#context.store.hosts, { ...query, limit }, { signal, view });
  }

  vms({ limit = ROWS_MAX, ...query }: RowQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<VmRow>> {
    const { store } = this.#context;
    const view = (name: string): VmRow | null => {
      const vm = store.vms.get(store.vmNames.get(name)?.value ?? '')?.value;
      if (vm === undefined) return null;
      const { id, spec, phase } = vm;
      return {
        ...{ id, name, host: currentIncarnation(phase)?.host ?? null, memoryBytes: spec.memoryBytes },
        verdict: verdictOf(this.#context, vm).verdict,
        guestCluster: spec.guestCluster ?? null,
        antiAffinity: affinityGroup(vm),
      };
    };
    return pageOf({ order: store.vmNames.order, view }, { ...query, limit }, signal);
  }

  /** CodedError 'not-found'. */
  actionsOf(kind: Parameters<typeof allowedActions>[0], name: string): AllowedActions {
    return { actions: allowedActions(kind, basisOf(this.#context), observedBy(this.#context), name) };
  }

  #hostRow(host: HostRecord): HostRow {
    const { name, rack = null, capacity, cordoned, maintenance = null, quarantine } = host;
    const agent = this.#context.leading()?.controller.observer.see(name).agent === 'alive' ? 'alive' : 'dead';
    const verdict = verdictOfHost(this.#context, name);
    return {
      ...{ name, rack, agent, cordoned, quarantined: quarantine !== null },
      memoryTotalBytes: capacity.memoryBytes,
      memoryUsedBytes: indexOfStore(this.#context.store).committedBytes(name),
      maintenance: maintenance === null ? null : maintenance.isEmpty === true ? 'drained' : 'draining',
      ...{ drainable: isYes(verdict?.drain), losable: isYes(verdict?.loss) },
    };
  }
}

const isYes = (answer: { readonly kind: 'can' | 'cannot' } | undefined): boolean | null =>
  answer === undefined ? null : answer.kind === 'can';
