/** Ties and debts through the API: what binds VMs to hosts, who signed for it, and what it costs now. */
import type { PageQuery } from '../../api/requests.ts';
import type { Tie } from '../../api/ties.ts';
import type { VmId } from '../../base/ids.ts';
import { KeyOrder } from '../../base/key-order.ts';
import type { UnsignedRefusal } from '../../core/loop/maintenance/evacuability-watch.ts';
import { isDue, type Signature } from '../../core/model/debt.ts';
import { type Owed, renewDebt } from '../../core/request/debts.ts';
import { CpuModels, tieOfCluster, tiesOfVm } from '../../core/request/effect.ts';
import type { Call } from '../api/call.ts';
import { type Page, pageOf } from '../api/pages.ts';
import { snapshotOf } from '../store/leader-store.ts';
import { basisOf, change } from './changes.ts';
import type { BackendContext } from './context.ts';
import { verdictOfHost } from './evacuability-views.ts';

/** A tie or debt; or a host that is refused without either. */
interface Found {
  readonly owed: Owed | null;
  readonly kind: Tie['kind'];
  readonly about: Tie['about'];
  readonly what: string;
  /** The VMs that it is about. */
  readonly vms: readonly VmId[];
  /** For a host that is refused: the question, and since when it is refused. */
  readonly refused?: Pick<UnsignedRefusal, 'host' | 'question' | 'since'>;
}

/** See the module's comment. */
export class TiesBackend {
  readonly #context: BackendContext;

  constructor(context: BackendContext) {
    this.#context = context;
  }

  /** Lists debts and ties by what they are about. */
  list(query: PageQuery, { signal }: Pick<Call, 'signal'>): Promise<Page<Tie>> {
    const found = new Map(
      tiesOf(this.#context).map((tie, number) => [
        `${tie.about.kind}/${tie.about.name}/${tie.kind}/${tie.owed?.debt.id ?? number}`,
        tie,
      ]),
    );
    const view = (place: string): Tie | null => {
      const tie = found.get(place);
      return tie === undefined ? null : this.#view(tie);
    };
    return pageOf({ order: new KeyOrder([...found.keys()].sort()), view }, query, signal);
  }

  /** Signs a debt anew. CodedError 'not-found', 'bad-input'. */
  async renew(id: string, signed: Signature): Promise<Tie> {
    await change(this.#context, (basis) => renewDebt(basis, { id, vms: owingVms(this.#context), signature: signed }));
    const tie = tiesOf(this.#context).find(({ owed }) => owed?.debt.id === id);
    if (tie === undefined) throw new Error(`The debt ${id} that was renewed is gone.`);
    return this.#view(tie);
  }

  #view({ owed, kind, about, what, vms, refused }: Found): Tie {
    const debt = owed?.debt ?? null;
    const time = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
    return {
      ...{ debt: debt?.id ?? null, kind, about, what },
      ...{ owner: debt?.owner ?? null, reason: debt?.reason ?? null, by: debt?.by ?? null },
      ...{ since: time(debt?.since ?? refused?.since), until: time(debt?.until) },
      isDue: debt !== null && isDue(debt, this.#context.clock.wallMs()),
      costs: this.#costs(refused === undefined ? vms : [], debt?.broke ?? (refused === undefined ? [] : [refused])),
    };
  }

  /** The hosts that are refused now because of these VMs, or that the change broke and that are still refused. */
  #costs(vms: readonly VmId[], broke: Owed['debt']['broke']): Tie['costs'] {
    const { store } = this.#context;
    const about = new Set(vms);
    const inTheWay = new Set<VmId>();
    const refused = (question: 'drain' | 'loss'): string[] =>
      [...store.hosts.values()].flatMap(({ value: { name } }) => {
        const answer = verdictOfHost(this.#context, name)?.[question];
        if (answer?.kind !== 'cannot') return [];
        const own = answer.vms.filter((vm) => about.has(vm));
        const isBroken = broke.some((one) => one.host === name && one.question === question);
        for (const vm of isBroken ? answer.vms : own) inTheWay.add(vm);
        return own.length > 0 || isBroken ? [name] : [];
      });
    const [undrainable, unlosable] = [refused('drain'), refused('loss')];
    return { undrainable, unlosable, vms: [...inTheWay].map((vm) => store.vms.get(vm)?.value.name ?? vm) };
  }
}

/** All debts, and the ties that nobody signed for: one walk over the VMs that may have any. */
export function tiesOf(context: BackendContext): readonly Found[] {
  const { records } = basisOf(context);
  const models = new CpuModels(records);
  const found: Found[] = [];
  const owing = owingVms(context);
  for (const id of owing) {
    const vm = records.vms.get(id)?.value;
    for (const debt of vm?.debts ?? []) if (vm !== undefined) found.push(ofDebt({ debt, about: { kind: 'vm', vm } }));
  }
  for (const id of boundVms(context, owing)) {
    const vm = records.vms.get(id)?.value;
    if (vm === undefined) continue;
    for (const { kind, what } of tiesOfVm(models, vm))
      if (vm.debts?.some((debt) => debt.kind === kind) !== true)
        found.push({ owed: null, kind, about: { kind: 'vm', name: vm.name }, what, vms: [id] });
  }
  for (const { value: cluster } of records.guestClusters.values()) {
    for (const debt of cluster.debts ?? []) found.push(ofDebt({ debt, about: { kind: 'guest-cluster', cluster } }));
    const tie = tieOfCluster(records, cluster);
    if (tie === null || cluster.debts?.some(({ kind }) => kind === tie.kind) === true) continue;
    const about = { kind: 'guest-cluster', name: cluster.name } as const;
    found.push({ owed: null, ...tie, about, vms: cluster.members });
  }
  for (const refused of context.leading()?.controller.evacuability.standing ?? []) {
    const { host, question, vms, because } = refused;
    const what = `${host} cannot be ${question === 'drain' ? 'drained' : 'lost'}: ${because.join('; ')}`;
    found.push({ owed: null, kind: 'room', about: { kind: 'host', name: host }, what, vms, refused });
  }
  return found;
}

function ofDebt(owed: Owed): Found {
  const { debt, about } = owed;
  return about.kind === 'vm'
    ? { owed, ...debt, about: { kind: 'vm', name: about.vm.name }, vms: [about.vm.id] }
    : { owed, ...debt, about: { kind: 'guest-cluster', name: about.cluster.name }, vms: about.cluster.members };
}

/** The VMs with debts: the leader keeps them; others look at every VM. */
export function owingVms(context: BackendContext): ReadonlySet<VmId> {
  const all = (): ReadonlySet<VmId> => new Set(snapshotOf(context.store).vms.keys() as Iterable<VmId>);
  return context.leading()?.controller.estate.owing() ?? all();
}

/** The VMs that may be tied to hosts; see `owingVms`. */
function boundVms(context: BackendContext, owing: ReadonlySet<VmId>): ReadonlySet<VmId> {
  return context.leading()?.controller.estate.bound() ?? owing;
}
